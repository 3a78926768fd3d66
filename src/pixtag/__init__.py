"""Pixtag: hashtags for a photo, from its pixels, your history and what is trending."""
