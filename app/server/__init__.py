"""The server: from settings to a listening socket, and from a caller's bytes to the application and back.

`serve` starts everything in order and stops it again, `main` wires the application, `protocol` keeps the connections,
on `http1`, which says what their bytes mean, and on `outbox`, through which answers leave together.
"""
