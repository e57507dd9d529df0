"""From tags to an answer: block, review or allow."""
