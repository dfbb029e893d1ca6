//! Tables of requests and what php-fpm makes of them.
