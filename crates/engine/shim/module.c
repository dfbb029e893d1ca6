/* The module `cgi-fcgi`: php-fpm's functions and ini settings as scripts see them. */
#include "internal.h"

#include <ext/standard/head.h>
#include <ext/standard/info.h>

struct cornac_settings cornac_settings;

static void add_text(zval *array, const char *key, struct shim_text text)
{
	add_assoc_stringl_ex(array, key, strlen(key), (char *) (text.start ? text.start : ""), text.length);
}

PHP_FUNCTION(fastcgi_finish_request)
{
	ZEND_PARSE_PARAMETERS_NONE();

	if (!cornac_request) {
		RETURN_FALSE;
	}
	php_output_end_all();
	php_header();
	bool done = cornac_calls->finish(cornac_request->request) == SHIM_DONE;
	if (done) {
		cornac_calls->go_on(cornac_request->request);
	}
	RETURN_BOOL(done);
}

PHP_FUNCTION(apache_request_headers)
{
	size_t count;

	ZEND_PARSE_PARAMETERS_NONE();

	array_init(return_value);
	if (!cornac_request) {
		return;
	}
	const struct shim_param *params = cornac_calls->params(cornac_request->request, &count);
	for (size_t i = 0; i < count; i++) {
		sapi_add_request_header(params[i].name.start, params[i].name.length,
			(char *) params[i].value.start, strlen(params[i].value.start), return_value);
	}
}

static void add_worker(zval *workers, const struct shim_slot *slot)
{
	zval worker;

	array_init(&worker);
	add_assoc_long(&worker, "pid", slot->pid);
	add_text(&worker, "state", slot->state);
	add_assoc_long(&worker, "start-time", slot->start_time);
	add_assoc_long(&worker, "start-since", slot->start_since);
	add_assoc_long(&worker, "requests", slot->requests);
	add_assoc_long(&worker, "request-duration", slot->duration_us);
	add_text(&worker, "request-method", slot->method);
	add_text(&worker, "request-uri", slot->uri);
	add_text(&worker, "query-string", slot->query);
	add_assoc_long(&worker, "request-length", slot->content_length);
	add_text(&worker, "user", slot->user);
	add_text(&worker, "script", slot->script);
	add_assoc_double(&worker, "last-request-cpu", slot->cpu);
	add_assoc_long(&worker, "last-request-memory", slot->memory);
	add_next_index_zval(workers, &worker);
}

PHP_FUNCTION(fpm_get_status)
{
	struct shim_status status;
	struct shim_slot slot;
	zval workers;

	ZEND_PARSE_PARAMETERS_NONE();

	if (!cornac_calls->status(&status)) {
		RETURN_FALSE;
	}
	array_init(return_value);
	add_text(return_value, "pool", status.pool);
	add_text(return_value, "process-manager", status.process_manager);
	add_assoc_long(return_value, "start-time", status.start_time);
	add_assoc_long(return_value, "start-since", status.start_since);
	add_assoc_long(return_value, "accepted-conn", status.accepted);
	add_assoc_long(return_value, "listen-queue", status.listen_queue);
	add_assoc_long(return_value, "max-listen-queue", status.max_listen_queue);
	add_assoc_long(return_value, "listen-queue-len", status.listen_queue_len);
	add_assoc_long(return_value, "idle-processes", status.idle);
	add_assoc_long(return_value, "active-processes", status.active);
	add_assoc_long(return_value, "total-processes", status.total);
	add_assoc_long(return_value, "max-active-processes", status.max_active);
	add_assoc_long(return_value, "max-children-reached", status.max_children_reached);
	add_assoc_long(return_value, "slow-requests", status.slow_requests);

	array_init(&workers);
	for (size_t i = 0; i < status.slot_count; i++) {
		slot = (struct shim_slot) {0};
		cornac_calls->slot(i, &slot);
		if (slot.used) {
			add_worker(&workers, &slot);
		}
	}
	add_assoc_zval(return_value, "procs", &workers);
}

ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_returns_bool, 0, 0, _IS_BOOL, 0)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_returns_array, 0, 0, IS_ARRAY, 0)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_WITH_RETURN_TYPE_MASK_EX(arginfo_returns_array_or_false, 0, 0, MAY_BE_ARRAY | MAY_BE_FALSE)
ZEND_END_ARG_INFO()

static const zend_function_entry functions[] = {
	PHP_FE(fastcgi_finish_request, arginfo_returns_bool)
	PHP_FE(apache_request_headers, arginfo_returns_array)
	PHP_FALIAS(getallheaders, apache_request_headers, arginfo_returns_array)
	PHP_FE(fpm_get_status, arginfo_returns_array_or_false)
	PHP_FE_END
};

PHP_INI_BEGIN()
	STD_PHP_INI_BOOLEAN("cgi.rfc2616_headers", "0", PHP_INI_ALL, OnUpdateBool, rfc2616_headers,
		struct cornac_settings, cornac_settings)
	STD_PHP_INI_BOOLEAN("cgi.nph", "0", PHP_INI_ALL, OnUpdateBool, nph,
		struct cornac_settings, cornac_settings)
	STD_PHP_INI_BOOLEAN("cgi.force_redirect", "1", PHP_INI_SYSTEM, OnUpdateBool, force_redirect,
		struct cornac_settings, cornac_settings)
	STD_PHP_INI_ENTRY("cgi.redirect_status_env", NULL, PHP_INI_SYSTEM, OnUpdateString, redirect_status_env,
		struct cornac_settings, cornac_settings)
	STD_PHP_INI_BOOLEAN("cgi.fix_pathinfo", "1", PHP_INI_SYSTEM, OnUpdateBool, fix_pathinfo,
		struct cornac_settings, cornac_settings)
	STD_PHP_INI_BOOLEAN("cgi.discard_path", "0", PHP_INI_SYSTEM, OnUpdateBool, discard_path,
		struct cornac_settings, cornac_settings)
	STD_PHP_INI_BOOLEAN("fastcgi.logging", "1", PHP_INI_SYSTEM, OnUpdateBool, logging,
		struct cornac_settings, cornac_settings)
	STD_PHP_INI_ENTRY("fastcgi.error_header", NULL, PHP_INI_SYSTEM, OnUpdateString, error_header,
		struct cornac_settings, cornac_settings)
	STD_PHP_INI_ENTRY("fpm.config", NULL, PHP_INI_SYSTEM, OnUpdateString, fpm_config,
		struct cornac_settings, cornac_settings)
PHP_INI_END()

static PHP_MINIT_FUNCTION(cornac)
{
	REGISTER_INI_ENTRIES();
	cornac_user_ini_init();
	return SUCCESS;
}

static PHP_MSHUTDOWN_FUNCTION(cornac)
{
	cornac_user_ini_destroy();
	UNREGISTER_INI_ENTRIES();
	return SUCCESS;
}

static PHP_MINFO_FUNCTION(cornac)
{
	php_info_print_table_start();
	php_info_print_table_row(2, "php-fpm", "active");
	php_info_print_table_end();
	DISPLAY_INI_ENTRIES();
}

zend_module_entry cornac_module = {
	STANDARD_MODULE_HEADER,
	"cgi-fcgi",
	functions,
	PHP_MINIT(cornac),
	PHP_MSHUTDOWN(cornac),
	NULL,
	NULL,
	PHP_MINFO(cornac),
	PHP_VERSION,
	STANDARD_MODULE_PROPERTIES
};

struct shim_settings shim_settings(void)
{
	const char *doc_root = PG(doc_root);
	return (struct shim_settings) {
		.fix_pathinfo = cornac_settings.fix_pathinfo,
		.discard_path = cornac_settings.discard_path,
		.doc_root = {doc_root, doc_root ? strlen(doc_root) : 0},
	};
}
