"""SWE-smith behind our own Protocol; nothing else imports it."""
