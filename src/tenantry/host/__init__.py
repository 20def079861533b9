"""This machine: its programs, files, processes, packages, engines and service manager."""
