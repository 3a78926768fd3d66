"""Where photos already are: sidecars beside them, Immich, accounts of Mastodon and Pixelfed."""
