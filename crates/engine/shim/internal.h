/* What the shim's own files share. Nothing here is visible to Rust. */
#ifndef CORNAC_SHIM_INTERNAL_H
#define CORNAC_SHIM_INTERNAL_H

#include <main/php.h>
#include <main/SAPI.h>
#include <main/php_ini.h>
#include <main/php_main.h>
#include <main/php_output.h>
#include <main/php_variables.h>

#include "shim.h"

/* What the engine refers to as data: weak, so that it loads into any executable and can say that this is
 * no PHP it was built for (host.c) instead of failing in the dynamic loader. Functions are bound when
 * first called. */
#pragma weak OnUpdateBool
#pragma weak OnUpdateString
#pragma weak php_module_shutdown_wrapper
#pragma weak zend_error
#pragma weak zend_ini_boolean_displayer_cb
#pragma weak compiler_globals
#pragma weak config_zval_dtor
#pragma weak core_globals
#pragma weak executor_globals
#pragma weak module_registry
#pragma weak php_import_environment_variables
#pragma weak php_ini_opened_path
#pragma weak php_ini_scanned_files
#pragma weak php_ini_scanned_path
#pragma weak php_load_environment_variables
#pragma weak sapi_globals
#pragma weak sapi_module
#pragma weak zend_extensions
#pragma weak zend_signal_globals

/* Ini settings that php-fpm's `cgi-fcgi` module owns. */
struct cornac_settings {
	bool rfc2616_headers;
	bool nph;
	bool force_redirect;
	bool fix_pathinfo;
	bool discard_path;
	bool logging;
	char *error_header;
	char *redirect_status_env;
	char *fpm_config;
};

extern struct cornac_settings cornac_settings;
extern const struct shim_calls *cornac_calls;
extern const struct shim_request *cornac_request; /* NULL between requests */
extern sapi_module_struct cornac_sapi;
extern zend_module_entry cornac_module;
extern bool cornac_is_worker;

/* startup.c: hears what PHP complains of while it starts */
void cornac_hear_startup(HashTable *configuration);

/* sapi.c */
void cornac_hook_environment(void);
/* The headers PHP holds, until the next call. */
size_t cornac_header_lines(sapi_headers_struct *headers, const struct shim_text **lines);

/* pages.c: ping and status */
void cornac_answer_ping(void);
void cornac_answer_status(void);

/* Logs, also to the web server; what it returns says whether that is still there. */
int cornac_log_quietly(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, and ends the script if the web server is gone: only while a request is active in PHP. */
#define cornac_log(...) \
	do { \
		if (cornac_log_quietly(__VA_ARGS__) == SHIM_ABORTED) { \
			php_handle_aborted_connection(); \
		} \
	} while (0)

/* user_ini.c: [HOST=], [PATH=] sections and .user.ini files of a request */
int cornac_activate_directory_ini(void);
void cornac_user_ini_init(void);
void cornac_user_ini_destroy(void);

/* ini.c: PHP_VALUE and PHP_ADMIN_VALUE; `begin` answers true if the process must retire after the request */
bool cornac_request_ini_begin(const char *php_value, const char *php_admin_value);
void cornac_request_ini_end(void);

#endif
