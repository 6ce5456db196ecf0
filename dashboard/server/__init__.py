"""The server: start, routes, which requests are answered, and what is loaded ahead."""
