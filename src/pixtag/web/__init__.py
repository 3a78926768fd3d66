"""The page and the HTTP API of one store: `pixtag serve`. Needs the extra `pixtag[serve]`."""
