//! Meta-variables to script and PATH_INFO; the response head
