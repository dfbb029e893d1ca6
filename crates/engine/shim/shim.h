/*
 * The border between Rust and PHP: plain C data in and out, no PHP type visible to Rust.
 *
 * C drives: every function here that enters PHP has its own zend_try, so a bailout (siglongjmp) never
 * passes a Rust frame. Rust answers through `struct shim_calls`, whose functions never call PHP; C looks
 * at what they return and only then acts on it (php_handle_aborted_connection and the like).
 *
 * Texts are bytes with a length; where PHP wants C strings they end with a NUL as well, and say so.
 */
#ifndef CORNAC_SHIM_H
#define CORNAC_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shim_text {
	const char *start;
	size_t length;
};

/* One meta-variable of a request; a NUL follows both texts, and a value ends for PHP at its first NUL. */
struct shim_param {
	struct shim_text name;
	struct shim_text value;
};

/* Log levels, as in the configuration. */
enum { SHIM_DEBUG = 1, SHIM_NOTICE, SHIM_WARNING, SHIM_ERROR, SHIM_ALERT };

/* Whether a log line goes to the web server as well: whole, or cut at log_limit like the log's own line. */
enum { SHIM_LOG_ONLY, SHIM_PEER_WHOLE, SHIM_PEER_CUT };

/* Result of the upcalls that can fail because the peer is gone. */
enum { SHIM_ABORTED = -1, SHIM_ALREADY = 0, SHIM_DONE = 1 };

/* A response head as PHP holds it. */
struct shim_head {
	int status;
	struct shim_text status_line;    /* start is NULL when the script set none */
	const struct shim_text *lines;   /* `Name: value`, in PHP's order */
	size_t line_count;
	bool nph;
	bool rfc2616_headers;
};

/* The pool as fpm_get_status() tells it. */
struct shim_status {
	struct shim_text pool;
	struct shim_text process_manager;
	int64_t start_time, start_since, accepted, listen_queue, max_listen_queue, listen_queue_len;
	int64_t idle, active, total, max_active, max_children_reached, slow_requests;
	size_t slot_count;
};

/* One worker as fpm_get_status() tells it. The texts live until the next call. */
struct shim_slot {
	bool used;
	int64_t pid, start_time, start_since, requests, duration_us, content_length, memory;
	double cpu;
	struct shim_text state, method, uri, query, user, script;
};

/* Words in the query of a status page; as observe::status has them. */
#define SHIM_STATUS_WORDS {"html", "xml", "json", "openmetrics", "full"}

/* The status page; its texts live until the next call. */
struct shim_page {
	struct shim_text content_type; /* a whole header */
	struct shim_text body;
};

/* What Rust does for PHP. `request` is the pointer given to shim_request_run. */
struct shim_calls {
	int64_t (*write)(void *request, const char *data, size_t length);
	int (*flush)(void *request);
	int (*head)(void *request, const struct shim_head *head);
	size_t (*read_body)(void *request, char *buffer, size_t length);
	const char *(*param)(void *request, const char *name, size_t length); /* NUL-terminated or NULL */
	const struct shim_param *(*params)(void *request, size_t *count);
	int (*log)(void *request, int level, const char *text, size_t length, int to_peer);
	int (*finish)(void *request);
	/* The script goes on though its reply has been sent. */
	void (*go_on)(void *request);
	/* User of Basic authentication, request URI, script, each may be NULL. */
	void (*request_started)(void *request, const char *user, const char *uri, const char *script);
	void (*script_starting)(void *request);
	/* The headers are the response's, if the request says that they are logged. */
	void (*script_ended)(void *request, int status, uint64_t peak_memory, const struct shim_text *headers,
		size_t header_count);
	bool (*status)(struct shim_status *status); /* false outside a worker */
	void (*slot)(size_t index, struct shim_slot *slot);
	/* Which words are in the query, and whether PHP's character set is UTF-8; false outside a worker. */
	bool (*status_page)(uint32_t words, bool utf8, struct shim_page *page);
};

/* ---- host.c: is this executable a PHP that this engine was built for? ---- */

/* NULL if so, else a sentence with what was expected and what was found, in a static buffer. */
const char *shim_host_problem(void);
/* "8.2.35", once PHP has started. */
const char *shim_php_version(void);

/* ---- startup.c: PHP's own start-up and end ---- */

struct shim_startup {
	const char *ini_path;     /* -c, or the place of php-fpm's php.ini; NULL: PHP's own rules */
	bool no_ini;              /* -n */
	bool as_text;             /* phpinfo() as text */
	bool extended_info;       /* -e */
	const char *const *defines; /* -d entries */
	size_t define_count;
	const char *pool_ini;     /* further lines of php.ini, or NULL */
	const char *executable;   /* becomes PHP_BINARY */
};

int shim_startup(const struct shim_startup *options, const struct shim_calls *calls);
/* What PHP warned of while it started, such as extensions that could not be loaded; one a line. */
const char *shim_startup_warnings(void);
/* What the start-up has read: php.ini, further files separated by commas, their folders separated by colons, and the
 * folder of the extensions. NULL for what there is not. */
struct shim_sources {
	const char *ini_file, *scanned_files, *scanned_folders, *extension_folder;
};
struct shim_sources shim_sources(void);
void shim_shutdown(void);
/* Takes a built-in module's functions away from scripts. */
void shim_disable_module_functions(const char *name);
/* In a forked worker, once, before its first request. */
void shim_worker_begin(void);
/* The tasks behind -v, -i and -m: print to stdout; 0 or -1. */
int shim_print_version(void);
int shim_print_info(void);
int shim_print_modules(void);
/* php.ini's directory compiled into this build's headers. */
const char *shim_ini_directory(void);

/* ---- layout.c: for backtraces from outside ---- */

/* `trace::Layout` mirrored: addresses, then offsets, then bits of a frame's kind. */
struct shim_layout {
	uint64_t current_frame, script;
	uint64_t frame_instruction, frame_function, frame_kind, frame_caller;
	uint64_t function_type, function_name, function_file;
	uint64_t function_code, function_length, built_in;
	uint64_t instruction_size, instruction_line;
	uint64_t string_length, string_text;
	uint64_t kind_mask, kind_top_code;
};
/* Once PHP has started. */
struct shim_layout shim_layout(void);

/* ---- companion.c: backtraces that nobody else may read ---- */

/* In a worker: starts a task that answers with the process's memory on this socket. 0 or an error number. */
int shim_companion_start(int socket);

/* ---- ini.c: ini settings of the pool, and of one request ---- */

/* Sets a pool's value for good. 0, or -1 if there is no such setting. */
int shim_ini_set(struct shim_text name, struct shim_text value, bool admin);

struct shim_settings {
	bool fix_pathinfo;
	bool discard_path;
	struct shim_text doc_root; /* start is NULL when unset */
};
struct shim_settings shim_settings(void);

/* ---- files.c: PHP's own view of the file system, through its realpath cache ---- */

bool shim_path_resolves(const char *path);

/* ---- request.c: one request ---- */

enum shim_verdict { SHIM_RUN, SHIM_NOT_FOUND, SHIM_DENIED, SHIM_PING, SHIM_STATUS };

struct shim_request {
	void *request;             /* handed back in every upcall; not NULL */
	enum shim_verdict verdict;
	int status;                /* response code to start with: 200, or 404 when path correction failed */
	/* NUL-terminated or NULL; all must stay as they are until shim_request_run returns. */
	const char *method;
	const char *query;
	const char *content_type;
	const char *request_uri;
	const char *script;
	const char *cookie;
	const char *authorization;
	const char *php_value;
	const char *php_admin_value;
	const char *body_file;
	const char *path_info;
	const char *document_root;
	const char *server_name;
	int64_t content_length;
	struct shim_text ping_response;
	bool logs_headers;         /* script_ended gets the response's headers */
};

enum shim_outcome {
	SHIM_SERVED,       /* the worker may take the next request */
	SHIM_RETIRE,       /* served, but this process must not serve another request */
	SHIM_BROKEN,       /* the engine bailed out or could not start the request: end with code 70 */
};

enum shim_outcome shim_request_run(const struct shim_request *request);

#endif
