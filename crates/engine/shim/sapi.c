/*
 * The SAPI `fpm-fcgi`: PHP's questions and output of a request, passed on to Rust. Without a request (PHP's
 * start-up, the tasks behind -v -i -m) output goes to stdout, in a worker to stderr.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>

#include "internal.h"

const struct shim_request *cornac_request;

static int body_fd = -1;

static void *context(void)
{
	return cornac_request ? cornac_request->request : NULL;
}

static int to_peer(int how)
{
	return cornac_settings.logging ? how : SHIM_LOG_ONLY;
}

int cornac_log_quietly(int level, const char *format, ...)
{
	char text[2049];
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (length >= (int) sizeof text) {
		length = sizeof text - 1;
		memcpy(text + length - 3, "...", 3);
	}
	return cornac_calls->log(context(), level, text, length, to_peer(SHIM_PEER_WHOLE));
}

static int startup(sapi_module_struct *module)
{
	return php_module_startup(module, &cornac_module);
}

static int deactivate(void)
{
	if (body_fd >= 0) {
		close(body_fd);
		body_fd = -1;
	}
	/* Also called once during start-up, when no request has begun. */
	if (SG(sapi_started) && context() && cornac_calls->finish(context()) == SHIM_ABORTED) {
		php_handle_aborted_connection();
	}
	return SUCCESS;
}

static size_t ub_write(const char *text, size_t length)
{
	if (!context()) {
		ssize_t written = write(cornac_is_worker ? STDERR_FILENO : STDOUT_FILENO, text, length);
		return written < 0 ? 0 : written;
	}
	int64_t written = cornac_calls->write(context(), text, length);
	if (written < 0) {
		php_handle_aborted_connection();
		return 0;
	}
	return written;
}

static void flush(void *server_context)
{
#if PHP_VERSION_ID >= 80400
	sapi_send_headers();
#endif
	if (context() && cornac_calls->flush(context()) == SHIM_ABORTED) {
		php_handle_aborted_connection();
	}
}

static char *get_env(const char *name, size_t length)
{
	return context() ? (char *) cornac_calls->param(context(), name, length) : getenv(name);
}

/* Room for the head's lines, kept between requests. */
static struct shim_text *lines;
static size_t lines_room;

size_t cornac_header_lines(sapi_headers_struct *headers, const struct shim_text **collected)
{
	size_t count = 0;
	zend_llist_position position;
	sapi_header_struct *header;

	if (zend_llist_count(&headers->headers) > lines_room) {
		size_t room = zend_llist_count(&headers->headers) * 2 + 16;
		struct shim_text *larger = realloc(lines, room * sizeof *lines);
		if (!larger) {
			zend_error_noreturn(E_ERROR, "Out of memory for the response head");
		}
		lines = larger;
		lines_room = room;
	}
	for (header = zend_llist_get_first_ex(&headers->headers, &position); header;
			header = zend_llist_get_next_ex(&headers->headers, &position)) {
		lines[count++] = (struct shim_text) {header->header, header->header_len};
	}
	*collected = lines;
	return count;
}

static int send_headers(sapi_headers_struct *headers)
{
	if (SG(request_info).no_headers == 1 || !context()) {
		return SAPI_HEADER_SENT_SUCCESSFULLY;
	}
	const char *status_line = headers->http_status_line;
	struct shim_head head = {
		.status = headers->http_response_code,
		.status_line = {status_line, status_line ? strlen(status_line) : 0},
		.nph = cornac_settings.nph,
		.rfc2616_headers = cornac_settings.rfc2616_headers,
	};
	head.line_count = cornac_header_lines(headers, &head.lines);
	if (cornac_calls->head(context(), &head) == SHIM_ABORTED) {
		php_handle_aborted_connection();
	}
	return SAPI_HEADER_SENT_SUCCESSFULLY;
}

static bool open_body_file(void)
{
	const char *path = cornac_request->body_file;

	if (body_fd < 0) {
		body_fd = open(path, O_RDONLY | O_CLOEXEC);
		if (body_fd < 0) {
			php_error(E_WARNING, "REQUEST_BODY_FILE: open('%s') failed: %s (%d)", path, strerror(errno), errno);
			return false;
		}
	}
	return true;
}

static size_t read_body_file(char *buffer, size_t wanted)
{
	size_t done = 0;

	while (open_body_file() && done < wanted) {
		ssize_t got = read(body_fd, buffer + done, wanted - done);
		if (got <= 0) {
			break;
		}
		done += got;
	}
	return done;
}

static size_t read_post(char *buffer, size_t wanted)
{
	int64_t left = SG(request_info).content_length - SG(read_post_bytes);

	if (left <= 0 || !context()) {
		return 0;
	}
	if ((size_t) left < wanted) {
		wanted = left;
	}
	if (cornac_request->body_file && *cornac_request->body_file) {
		return read_body_file(buffer, wanted);
	}
	return cornac_calls->read_body(context(), buffer, wanted);
}

static char *read_cookies(void)
{
	return cornac_request ? (char *) cornac_request->cookie : NULL;
}

static void log_message(const char *message, int syslog_type)
{
	size_t length = strlen(message);
	char *text;

	if (asprintf(&text, "PHP message: %s", message) < 0) {
		return;
	}
	length += strlen("PHP message: ");
	int result = cornac_calls->log(context(), SHIM_NOTICE, text, length, to_peer(SHIM_PEER_CUT));
	free(text);
	if (result == SHIM_ABORTED) {
		php_handle_aborted_connection();
	}
}

/* ---- $_SERVER, $_ENV and getenv() ---- */

static void (*import_process_environment)(zval *array);

static void import_params(zval *array, int filter)
{
	size_t count;
	const struct shim_param *params = cornac_calls->params(context(), &count);

	for (size_t i = 0; i < count; i++) {
		char *value = (char *) params[i].value.start;
		size_t length = strlen(value);
		if (filter < 0 || sapi_module.input_filter(filter, params[i].name.start, &value, length, &length)) {
			php_register_variable_safe(params[i].name.start, value, length, array);
		}
	}
}

/* The other array if it has been filled already: PHP may ask for $_SERVER and $_ENV in either order. */
static bool copy_if_filled(zval *array, zval *other)
{
	if (Z_TYPE_P(other) != IS_ARRAY || Z_ARR_P(other) == Z_ARR_P(array)
			|| zend_hash_num_elements(Z_ARRVAL_P(other)) == 0) {
		return false;
	}
	zend_array_destroy(Z_ARR_P(array));
	Z_ARR_P(array) = zend_array_dup(Z_ARR_P(other));
	return true;
}

static void import_environment(zval *array)
{
	if (copy_if_filled(array, &PG(http_globals)[TRACK_VARS_ENV])
			|| copy_if_filled(array, &PG(http_globals)[TRACK_VARS_SERVER])) {
		return;
	}
	import_process_environment(array);
	if (context()) {
		bool is_env = Z_ARR_P(array) == Z_ARR(PG(http_globals)[TRACK_VARS_ENV]);
		import_params(array, is_env ? PARSE_ENV : PARSE_SERVER);
	}
}

/* What getenv() without a name returns. */
static void load_environment(zval *array)
{
	import_process_environment(array);
	if (context()) {
		import_params(array, -1);
	}
}

void cornac_hook_environment(void)
{
	import_process_environment = php_import_environment_variables;
	php_import_environment_variables = import_environment;
	php_load_environment_variables = load_environment;
}

static void register_variables(zval *array)
{
	const char *uri = cornac_request && cornac_request->request_uri ? cornac_request->request_uri : "";
	const char *path_info = "";
	char *php_self;
	size_t length;

	php_import_environment_variables(array);
	if (cornac_settings.fix_pathinfo && cornac_request && cornac_request->path_info) {
		path_info = cornac_request->path_info;
	}
	length = zend_spprintf(&php_self, 0, "%s%s", uri, path_info);
	if (sapi_module.input_filter(PARSE_SERVER, "PHP_SELF", &php_self, length, &length)) {
		php_register_variable_safe("PHP_SELF", php_self, length, array);
	}
	efree(php_self);
}

#if PHP_VERSION_ID < 80500
static int activate(void)
{
	return cornac_activate_directory_ini();
}
#endif

sapi_module_struct cornac_sapi = {
	.name = "fpm-fcgi",
	.pretty_name = "FPM/FastCGI",
	.startup = startup,
	.ini_defaults = cornac_hear_startup,
	.shutdown = php_module_shutdown_wrapper,
#if PHP_VERSION_ID >= 80500
	.pre_request_init = cornac_activate_directory_ini,
#else
	.activate = activate,
#endif
	.deactivate = deactivate,
	.ub_write = ub_write,
	.flush = flush,
	.getenv = get_env,
	.sapi_error = php_error,
	.send_headers = send_headers,
	.read_post = read_post,
	.read_cookies = read_cookies,
	.register_server_variables = register_variables,
	.log_message = log_message,
};
