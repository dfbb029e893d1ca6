/* Ping and status page: PHP gets the headers and the body, Rust knows the numbers. */
#include <strings.h>

#include "internal.h"

static const char *const words[] = SHIM_STATUS_WORDS;

static void add_header(const char *line, size_t length)
{
	sapi_add_header_ex((char *) line, length, true, true);
}

#define ADD_HEADER(line) add_header(line, strlen(line))

static void add_common_headers(void)
{
	ADD_HEADER("Expires: Thu, 01 Jan 1970 00:00:00 GMT");
	ADD_HEADER("Cache-Control: no-cache, no-store, must-revalidate, max-age=0");
	SG(sapi_headers).http_response_code = 200;
}

void cornac_answer_ping(void)
{
	cornac_calls->script_starting(cornac_request->request);
	ADD_HEADER("Content-Type: text/plain");
	add_common_headers();
	if (!SG(request_info).headers_only) {
		php_output_write(cornac_request->ping_response.start, cornac_request->ping_response.length);
	}
}

/* One bit for each word that has a variable in $_GET. php-fpm takes a name that is a word's beginning for it. */
static uint32_t asked_words(void)
{
	uint32_t asked = 0;
	zend_string *get = ZSTR_INIT_LITERAL("_GET", false);
	zend_string *name;
	zval *variables;

	zend_is_auto_global(get);
	variables = zend_hash_find(&EG(symbol_table), get);
	if (variables && Z_TYPE_P(variables) == IS_ARRAY) {
		ZEND_HASH_FOREACH_STR_KEY(Z_ARRVAL_P(variables), name) {
			for (size_t i = 0; name && i < sizeof words / sizeof *words; i++) {
				if (strncmp(ZSTR_VAL(name), words[i], ZSTR_LEN(name)) == 0) {
					asked |= UINT32_C(1) << i;
				}
			}
		} ZEND_HASH_FOREACH_END();
	}
	zend_string_release(get);
	return asked;
}

static bool charset_is_utf8(void)
{
	const char *charset = PG(internal_encoding) && *PG(internal_encoding)
		? PG(internal_encoding) : SG(default_charset);
	return !charset || !*charset || strcasecmp(charset, "UTF-8") == 0;
}

void cornac_answer_status(void)
{
	struct shim_page page;

	cornac_calls->script_starting(cornac_request->request);
	add_common_headers();
	if (SG(request_info).headers_only) {
		return;
	}
	if (cornac_calls->status_page(asked_words(), charset_is_utf8(), &page)) {
		add_header(page.content_type.start, page.content_type.length);
		php_output_write(page.body.start, page.body.length);
	}
}
