//! The PHP engine: SAPI, fork server and worker, preloaded into a stock PHP executable
