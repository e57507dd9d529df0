"""Groups of commands that the command line mounts, and the options that commands share."""
