/* PHP's start-up and end in the fork server, what a forked worker renews, and the tasks behind -v -i -m. */
#include "internal.h"

#include <signal.h>
#include <main/build-defs.h>
#include <main/php_ini_builder.h>
#include <ext/standard/info.h>
#include <Zend/zend_extensions.h>
#include <Zend/zend_observer.h>

const struct shim_calls *cornac_calls;
bool cornac_is_worker;

/* ---- what PHP complains of while it starts ---- */

static char *warnings;
static bool starting;

/* E_CORE_WARNING is what PHP says of extensions that it cannot load or initialise. One that is named twice is none the
 * worse for it. */
static void note_warning(int type, zend_string *file, uint32_t line, zend_string *message)
{
	char *more;

	(void) file, (void) line;
	if (!starting || type != E_CORE_WARNING || strstr(ZSTR_VAL(message), "already loaded")) {
		return;
	}
	if (asprintf(&more, "%s%s\n", warnings ? warnings : "", ZSTR_VAL(message)) >= 0) {
		free(warnings);
		warnings = more;
	}
}

/* PHP calls this before it reads php.ini: late enough to register, and before any extension is loaded. */
void cornac_hear_startup(HashTable *configuration)
{
	(void) configuration;
	zend_observer_error_register(note_warning);
}

const char *shim_startup_warnings(void)
{
	return warnings ? warnings : "";
}

extern char *php_ini_opened_path, *php_ini_scanned_files, *php_ini_scanned_path;

struct shim_sources shim_sources(void)
{
	return (struct shim_sources) {
		.ini_file = php_ini_opened_path,
		.scanned_files = php_ini_scanned_files,
		.scanned_folders = php_ini_scanned_path,
		.extension_folder = PG(extension_dir),
	};
}

/* The lines of both; of two for one setting the later one wins. */
static char *join(char *command_line, const char *pool)
{
	char *both;

	if (!pool) {
		return command_line;
	}
	return asprintf(&both, "%s%s", command_line ? command_line : "", pool) < 0 ? command_line : both;
}

int shim_startup(const struct shim_startup *options, const struct shim_calls *calls)
{
	struct php_ini_builder builder;

	cornac_calls = calls;
	signal(SIGPIPE, SIG_IGN);
#ifdef ZEND_SIGNALS
	zend_signal_startup();
#endif
	sapi_startup(&cornac_sapi);

	php_ini_builder_init(&builder);
	for (size_t i = 0; i < options->define_count; i++) {
		php_ini_builder_define(&builder, options->defines[i]);
	}
	cornac_sapi.ini_entries = join(php_ini_builder_finish(&builder), options->pool_ini);
	cornac_sapi.php_ini_path_override = options->ini_path ? strdup(options->ini_path) : NULL;
	cornac_sapi.php_ini_ignore = options->no_ini;
	cornac_sapi.php_ini_ignore_cwd = 1;
	cornac_sapi.phpinfo_as_text = options->as_text;
	cornac_sapi.executable_location = options->executable ? strdup(options->executable) : NULL;

	starting = true;
	int started = cornac_sapi.startup(&cornac_sapi);
	starting = false;
	if (started == FAILURE) {
		return -1;
	}
	if (options->extended_info) {
		CG(compiler_options) |= ZEND_COMPILE_EXTENDED_INFO;
	}
	return 0;
}

void shim_disable_module_functions(const char *name)
{
	zend_module_entry *module = zend_hash_str_find_ptr(&module_registry, name, strlen(name));

	if (module && module->functions) {
		for (const zend_function_entry *function = module->functions; function->fname; function++) {
			zend_disable_functions(function->fname);
		}
	}
}

void shim_shutdown(void)
{
	zend_first_try {
		php_module_shutdown();
	} zend_end_try();
}

#if PHP_VERSION_ID >= 80500
extern void php_child_init(void);
#endif

void shim_worker_begin(void)
{
	/* PHP remembers the signal dispositions it found at start-up and puts them back at every request:
	 * it has to look again now that the worker's own handlers are in place. */
#ifdef ZEND_SIGNALS
	zend_signal_startup();
#endif
#if PHP_VERSION_ID >= 80500
	php_child_init();
#endif
	cornac_is_worker = true;
	cornac_hook_environment();
}

const char *shim_ini_directory(void)
{
	return PHP_CONFIG_FILE_PATH;
}

/* ---- -v -i -m ---- */

/* phpinfo() prints `Build Date => Oct 21 2026 06:29:51`; the host tells its date nowhere else. */
static void find_build_date(char *date, size_t size)
{
	zval info;
	const char *start, *end;

	*date = '\0';
	php_output_start_default();
	php_print_info(PHP_INFO_GENERAL);
	if (php_output_get_contents(&info) == SUCCESS) {
		start = strstr(Z_STRVAL(info), "Build Date => ");
		if (start) {
			start += strlen("Build Date => ");
			end = start + strcspn(start, "\n");
			snprintf(date, size, "%.*s", (int) (end - start), start);
		}
		zval_ptr_dtor(&info);
	}
	php_output_discard();
}

static void print_version(void)
{
	char date[64];

	find_build_date(date, sizeof date);
	php_printf("PHP %s (%s) (built: %s)\nCopyright (c) The PHP Group\n%s",
		shim_php_version(), sapi_module.name, date, get_zend_version());
}

static void print_all_info(void)
{
	php_print_info(0xFFFFFFFF);
}

static int by_name(const void *a, const void *b)
{
	return strcasecmp(*(const char *const *) a, *(const char *const *) b);
}

static void print_sorted(const char **names, size_t count)
{
	qsort(names, count, sizeof *names, by_name);
	for (size_t i = 0; i < count; i++) {
		php_printf("%s\n", names[i]);
	}
	free(names);
}

static void print_modules(void)
{
	const char **names = calloc(zend_hash_num_elements(&module_registry) + 1, sizeof *names);
	size_t count = 0;
	zend_module_entry *module;
	zend_llist_position position;

	if (!names) {
		return;
	}
	ZEND_HASH_FOREACH_PTR(&module_registry, module) {
		names[count++] = module->name;
	} ZEND_HASH_FOREACH_END();
	php_printf("[PHP Modules]\n");
	print_sorted(names, count);

	count = 0;
	names = calloc(zend_llist_count(&zend_extensions) + 1, sizeof *names);
	if (!names) {
		return;
	}
	for (zend_extension *e = zend_llist_get_first_ex(&zend_extensions, &position); e;
			e = zend_llist_get_next_ex(&zend_extensions, &position)) {
		names[count++] = e->name;
	}
	php_printf("\n[Zend Modules]\n");
	print_sorted(names, count);
	php_printf("\n");
}

/* Runs one of the printers inside a request of its own, whose output goes to stdout. */
static int print_in_request(void (*print)(void))
{
	volatile int result = -1;

	zend_first_try {
		if (php_request_startup() == SUCCESS) {
			SG(headers_sent) = 1;
			SG(request_info).no_headers = 1;
			print();
			php_request_shutdown(NULL);
			result = 0;
		}
	} zend_end_try();
	return result;
}

int shim_print_version(void)
{
	return print_in_request(print_version);
}

int shim_print_info(void)
{
	return print_in_request(print_all_info);
}

int shim_print_modules(void)
{
	return print_in_request(print_modules);
}
