/*
 * One request, from PHP's request start-up to its shutdown. Everything that may bail out happens inside
 * the zend_try of shim_request_run, or inside one that PHP itself sets up.
 */
#include <errno.h>

#include "internal.h"

static void begin(const struct shim_request *request)
{
	cornac_request = request;
	SG(server_context) = request->request;
	SG(sapi_headers).http_response_code = request->status;
	SG(request_info).request_method = request->method;
	SG(request_info).query_string = (char *) request->query;
	SG(request_info).content_type = request->content_type;
	SG(request_info).content_length = request->content_length;
	SG(request_info).request_uri = (char *) request->request_uri;
	SG(request_info).path_translated = request->script ? estrdup(request->script) : NULL;
	SG(request_info).proto_num = 1000;
	php_handle_auth_data(request->authorization);
}

static void end(void)
{
	SG(server_context) = NULL;
	SG(request_info).request_method = NULL;
	SG(request_info).query_string = NULL;
	SG(request_info).content_type = NULL;
	SG(request_info).request_uri = NULL;
	cornac_request = NULL;
}

static void answer(int status, const char *page)
{
	SG(sapi_headers).http_response_code = status;
	php_output_write(page, strlen(page));
}

static void open_failed(int error)
{
	/* PHP has dropped its own copy of the path. */
	cornac_log(SHIM_ERROR, "Unable to open primary script: %s (%s)", cornac_request->script, strerror(error));
	if (error == EACCES) {
		answer(403, "Access denied.\n");
	} else {
		answer(404, "No input file specified.\n");
	}
}

static void add_error_header(void)
{
	sapi_header_line line = {0};

	if (cornac_settings.error_header && EG(exit_status) == 255 && !SG(headers_sent)) {
		line.line = cornac_settings.error_header;
		line.line_len = strlen(line.line);
		line.response_code = 500;
		sapi_header_op(SAPI_HEADER_ADD, &line);
	}
}

static void run_script(void)
{
	zend_file_handle handle;

	if (php_fopen_primary_script(&handle) == FAILURE) {
		int error = errno;
		zend_try {
			open_failed(error);
		} zend_end_try();
		return;
	}
	cornac_calls->script_starting(cornac_request->request);
	EG(exit_status) = 0;
	php_execute_script(&handle);
	if (!handle.in_list) {
		zend_destroy_file_handle(&handle);
	}
	add_error_header();
}

static void respond(const struct shim_request *request)
{
	if (!request->method) {
		return; /* no HTTP request: the reply has neither head nor body */
	}
	switch (request->verdict) {
	case SHIM_NOT_FOUND:
		zend_try {
			cornac_log(SHIM_DEBUG, "Primary script unknown");
			answer(404, "File not found.\n");
		} zend_end_try();
		break;
	case SHIM_DENIED:
		zend_try {
			cornac_log(SHIM_NOTICE, "Access to the script '%s' has been denied (see security.limit_extensions)",
				request->script);
			answer(403, "Access denied.\n");
		} zend_end_try();
		break;
	case SHIM_RUN:
		run_script();
		break;
	case SHIM_PING:
		zend_try {
			cornac_answer_ping();
		} zend_end_try();
		break;
	case SHIM_STATUS:
		zend_try {
			cornac_answer_status();
		} zend_end_try();
		break;
	}
}

static void tell_end(const struct shim_request *request)
{
	const struct shim_text *headers = NULL;
	size_t count = request->logs_headers ? cornac_header_lines(&SG(sapi_headers), &headers) : 0;

	cornac_calls->script_ended(request->request, SG(sapi_headers).http_response_code,
		zend_memory_peak_usage(true), headers, count);
}

static void drop_script_path(void)
{
	if (SG(request_info).path_translated) {
		efree(SG(request_info).path_translated);
		SG(request_info).path_translated = NULL;
	}
}

/* A bailout that nothing inside caught: finish what can be finished, the process ends afterwards. */
static void recover(bool started)
{
	zend_first_try {
		drop_script_path();
		if (started) {
			php_request_shutdown(NULL);
		}
	} zend_end_try();
}

/* PHP looks at every request whether its signal handlers are still installed. Only pcntl takes them away. */
static void keep_signal_handlers(void)
{
#ifdef ZEND_SIGNALS
	if (SIGG(reset) && !zend_hash_str_exists(&module_registry, "pcntl", strlen("pcntl"))) {
		SIGG(reset) = false;
	}
#endif
}

enum shim_outcome shim_request_run(const struct shim_request *request)
{
	volatile enum shim_outcome outcome = SHIM_BROKEN;
	volatile bool started = false;

	zend_first_try {
		begin(request);
		bool retire = cornac_request_ini_begin(request->php_value, request->php_admin_value);
		cornac_calls->request_started(request->request, SG(request_info).auth_user, request->request_uri,
			request->script);
		if (php_request_startup() == SUCCESS) {
			started = true;
			keep_signal_handlers();
			respond(request);
			tell_end(request);
			drop_script_path();
			php_request_shutdown(NULL);
			cornac_request_ini_end();
			outcome = retire ? SHIM_RETIRE : SHIM_SERVED;
		}
	} zend_catch {
		recover(started);
	} zend_end_try();
	end();
	return outcome;
}
