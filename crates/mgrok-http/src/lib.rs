//! A reverse proxy for HTTP over any connection.
