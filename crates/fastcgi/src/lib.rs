//! FastCGI 1.0: bytes <-> records <-> requests, both sides
