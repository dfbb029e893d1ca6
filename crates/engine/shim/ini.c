/*
 * Ini settings from outside php.ini: the pool's php_value and php_admin_value lines, set for good in the
 * fork server, and what a request brings as PHP_VALUE and PHP_ADMIN_VALUE, taken back when it ends.
 * Both replace the master value of a setting, so that ini_restore() goes back to it.
 */
#include "internal.h"

#include <Zend/zend_ini_scanner.h>

/* What a request replaced. */
struct replaced {
	zend_ini_entry *entry;
	zend_string *value;
	int modifiable;
};

static struct replaced *replaced;
static size_t replaced_count, replaced_room;

static int modify(zend_ini_entry *entry, zend_string *value, int stage)
{
	if (!entry->on_modify) {
		return SUCCESS;
	}
	return entry->on_modify(entry, value, entry->mh_arg1, entry->mh_arg2, entry->mh_arg3, stage);
}

/* For one more. */
static bool make_room(void)
{
	if (replaced_count == replaced_room) {
		size_t room = replaced_room * 2 + 8;
		struct replaced *larger = realloc(replaced, room * sizeof *replaced);
		if (!larger) {
			return false;
		}
		replaced = larger;
		replaced_room = room;
	}
	return true;
}

/* A value the setting refuses is left out silently, as php-fpm does. */
static int replace(const char *name, size_t name_length, const char *value, size_t value_length, int mode, bool undo)
{
	zend_ini_entry *entry = zend_hash_str_find_ptr(EG(ini_directives), name, name_length);
	zend_string *copy;

	if (!entry) {
		return -1;
	}
	if (undo && !make_room()) {
		return 0;
	}
	copy = zend_string_init(value, value_length, true);
	if (modify(entry, copy, PHP_INI_STAGE_ACTIVATE) == FAILURE) {
		zend_string_release(copy);
		return 0;
	}
	if (undo) {
		replaced[replaced_count++] = (struct replaced) {entry, entry->value, entry->modifiable};
	}
	entry->value = copy;
	if (mode == ZEND_INI_SYSTEM) {
		/* Scripts cannot change it any more. For a while only, nobody can: opcache takes the value of a
		 * setting that only the system may change for a constant and keeps it in the compiled script. */
		entry->modifiable = undo ? 0 : ZEND_INI_SYSTEM;
	}
	return 0;
}

#if PHP_VERSION_ID < 80500
static void disable_classes(const char *list)
{
	while (*list) {
		size_t length = strcspn(list, " ,");
		if (length) {
			zend_disable_class(list, length);
		}
		list += length;
		list += strspn(list, " ,");
	}
}
#endif

static bool is(struct shim_text name, const char *expected)
{
	return name.length == strlen(expected) && memcmp(name.start, expected, name.length) == 0;
}

/* Functions and classes disappear in addition to those that php.ini disables; nothing brings them back. */
static bool disable(struct shim_text name, const char *list)
{
	if (is(name, "disable_functions")) {
		zend_disable_functions(list);
		return true;
	}
#if PHP_VERSION_ID < 80500
	if (is(name, "disable_classes")) {
		disable_classes(list);
		return true;
	}
#endif
	return false;
}

int shim_ini_set(struct shim_text name, struct shim_text value, bool admin)
{
	volatile int result = -1;

	zend_first_try {
		result = replace(name.start, name.length, value.start, value.length, admin ? ZEND_INI_SYSTEM : ZEND_INI_USER, false);
		if (result == 0 && value.length) {
			disable(name, value.start);
		}
	} zend_end_try();
	return result;
}

/* ---- PHP_VALUE, PHP_ADMIN_VALUE ---- */

struct passed {
	int mode;
	bool retire;
};

static void pass_entry(zval *name, zval *value, zval *key, int kind, void *argument)
{
	struct passed *passed = argument;

	if (!name) {
		return;
	}
	if (kind != ZEND_INI_PARSER_ENTRY) {
		cornac_log_quietly(SHIM_ERROR, "Passing INI directive through FastCGI: only classic entries are allowed");
		return;
	}
	if (Z_STRLEN_P(name) == 0) {
		cornac_log_quietly(SHIM_ERROR, "Passing INI directive through FastCGI: empty key");
		return;
	}
	if (!value) {
		cornac_log_quietly(SHIM_ERROR, "Passing INI directive through FastCGI: empty value for key '%s'", Z_STRVAL_P(name));
		return;
	}
	struct shim_text setting = {Z_STRVAL_P(name), Z_STRLEN_P(name)};
	if (replace(setting.start, setting.length, Z_STRVAL_P(value), Z_STRLEN_P(value), passed->mode, true) < 0) {
		cornac_log_quietly(SHIM_ERROR, "Passing INI directive through FastCGI: unable to set '%s'", setting.start);
	} else if (Z_STRLEN_P(value)) {
		passed->retire |= disable(setting, Z_STRVAL_P(value));
	}
}

static bool pass(const char *text, int mode)
{
	struct passed passed = {mode, false};
	char *lines;

	zend_spprintf(&lines, 0, "%s\n", text);
	zend_parse_ini_string(lines, 1, ZEND_INI_SCANNER_NORMAL, (zend_ini_parser_cb_t) pass_entry, &passed);
	efree(lines);
	return passed.retire;
}

bool cornac_request_ini_begin(const char *php_value, const char *php_admin_value)
{
	bool retire = false;

	if (php_value) {
		retire |= pass(php_value, ZEND_INI_USER);
	}
	if (php_admin_value) {
		retire |= pass(php_admin_value, ZEND_INI_SYSTEM);
	}
	return retire;
}

void cornac_request_ini_end(void)
{
	while (replaced_count) {
		struct replaced *was = &replaced[--replaced_count];
		zend_string *passed = was->entry->value;
		modify(was->entry, was->value, PHP_INI_STAGE_DEACTIVATE);
		was->entry->value = was->value;
		was->entry->modifiable = was->modifiable;
		zend_string_release(passed);
	}
}
