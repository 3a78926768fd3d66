"""The command line: one file for each group of verbs; each parses, calls the library, prints."""
