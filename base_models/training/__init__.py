"""Training a tagger: from framed pictures and labels to a tagger's folder (extra ``train``)."""
