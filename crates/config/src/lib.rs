//! php-fpm configuration text to typed configuration and diagnostics
