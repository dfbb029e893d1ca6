/*
 * The ini settings that depend on where a script lies and for which host it runs: php.ini's [HOST=…] and
 * [PATH=…] sections and the .user.ini files from the document root down to the script's directory. The
 * latter are read again after user_ini.cache_ttl seconds.
 */
#include "internal.h"

struct directory_ini {
	time_t expires;
	HashTable settings;
};

static HashTable directories; /* script directory with slash -> struct directory_ini */

static void drop_directory(zval *value)
{
	struct directory_ini *directory = Z_PTR_P(value);

	zend_hash_destroy(&directory->settings);
	free(directory);
}

void cornac_user_ini_init(void)
{
	zend_hash_init(&directories, 0, NULL, drop_directory, 1);
}

void cornac_user_ini_destroy(void)
{
	zend_hash_destroy(&directories);
}

static struct directory_ini *find_directory(const char *path, size_t length)
{
	struct directory_ini *directory = zend_hash_str_find_ptr(&directories, path, length);

	if (!directory) {
		directory = pemalloc(sizeof *directory, 1);
		directory->expires = 0;
		zend_hash_init(&directory->settings, 0, NULL, config_zval_dtor, 1);
		zend_hash_str_update_ptr(&directories, path, length, directory);
	}
	return directory;
}

/* Reads the files of `path` (which ends with a slash): all from the document root down if it lies inside,
 * else its own only. */
static void read_files(struct directory_ini *directory, char *path, size_t length, const char *root, size_t root_length)
{
	bool shorter = length <= root_length;

	if (strncmp(path, root, shorter ? length : root_length) != 0) {
		php_parse_user_ini_file(path, PG(user_ini_filename), &directory->settings);
		return;
	}
	if (shorter) {
		return;
	}
	for (char *slash = strchr(path + root_length, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		php_parse_user_ini_file(path, PG(user_ini_filename), &directory->settings);
		*slash = '/';
	}
}

static void activate_files(char *path, size_t length)
{
	const char *root = cornac_request->document_root;
	time_t now = sapi_get_request_time();

	if (!root) {
		return;
	}
	size_t root_length = strlen(root);
	if (root_length > 0 && root[root_length - 1] == '/') {
		root_length--;
	}
	struct directory_ini *directory = find_directory(path, length);
	if (now > directory->expires) {
		zend_hash_clean(&directory->settings);
		read_files(directory, path, length, root, root_length);
		directory->expires = now + PG(user_ini_cache_ttl);
	}
	php_ini_activate_config(&directory->settings, PHP_INI_PERDIR, PHP_INI_STAGE_HTACCESS);
}

static void activate_host(void)
{
	const char *server_name = cornac_request->server_name;

	if (php_ini_has_per_host_config() && server_name) {
		size_t length = strlen(server_name);
		char *name = estrndup(server_name, length);
		zend_str_tolower(name, length);
		php_ini_activate_per_host_config(name, length);
		efree(name);
	}
}

int cornac_activate_directory_ini(void)
{
	const char *script = SG(request_info).path_translated;
	bool user_ini = PG(user_ini_filename) && *PG(user_ini_filename);

	if (!script || !cornac_request) {
		return FAILURE;
	}
	activate_host();
	if (user_ini || php_ini_has_per_dir_config()) {
		size_t length = strlen(script);
		char *path = emalloc(length + 2);
		memcpy(path, script, length + 1);
		length = zend_dirname(path, length);
		path[length++] = '/';
		path[length] = '\0';
		php_ini_activate_per_dir_config(path, length);
		if (user_ini) {
			activate_files(path, length);
		}
		efree(path);
	}
	return SUCCESS;
}
