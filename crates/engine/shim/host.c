/*
 * Is the executable that loaded us a PHP of the version, build and thread model this engine was compiled
 * for? Asked before anything of PHP is called. Every PHP carries its build id, "API20220829,NTS", for the
 * comparison with that of extensions; we look for it in the memory of the objects that are loaded.
 */
#define _GNU_SOURCE
#include "internal.h"

/* PHP's own, which may not be there. */
#undef snprintf

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#if PHP_VERSION_ID < 80200
# error "the engine must be built with the headers of PHP 8.2 or newer"
#endif
#ifdef ZTS
# error "the engine must be built with the headers of a PHP that is not thread-safe (NTS)"
#endif
#if ZEND_DEBUG
# error "the engine must be built with the headers of a PHP that is no debug build"
#endif

static char problem[256];
static char build_id[64];

/* "API", eight digits, a comma. Those of Zend extensions have nine digits. */
static bool is_build_id(const char *text, size_t left)
{
	if (left < 16 || memcmp(text, "API", 3) != 0 || text[11] != ',') {
		return false;
	}
	return strspn(text + 3, "0123456789") == 8;
}

static bool search(const char *start, size_t size)
{
	const char *end = start + size;

	while ((start = memmem(start, end - start, "API", 3))) {
		if (is_build_id(start, end - start)) {
			snprintf(build_id, sizeof build_id, "%.*s", (int) strnlen(start, end - start), start);
			return true;
		}
		start++;
	}
	return false;
}

static int search_object(struct dl_phdr_info *object, size_t size, void *own_base)
{
	if ((void *) object->dlpi_addr == own_base) {
		return 0; /* our own module carries the id we were built with */
	}
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
		if (segment->p_type == PT_LOAD && (segment->p_flags & PF_R) && !(segment->p_flags & PF_X)
				&& search((const char *) object->dlpi_addr + segment->p_vaddr, segment->p_filesz)) {
			return 1;
		}
	}
	return 0;
}

/* "API20220829,NTS" -> "8.2" */
static const char *minor_of(const char *id)
{
	static const struct { const char *api, *minor; } known[] = {
		{"20200930", "8.0"}, {"20210902", "8.1"}, {"20220829", "8.2"}, {"20230831", "8.3"},
		{"20240924", "8.4"}, {"20250925", "8.5"},
	};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (strncmp(id + 3, known[i].api, 8) == 0) {
			return known[i].minor;
		}
	}
	return "of an unknown version";
}

static const char *unlike(const char *found)
{
	snprintf(problem, sizeof problem,
		"expected PHP %d.%d (%s: not thread-safe, no debug build), found %s",
		PHP_MAJOR_VERSION, PHP_MINOR_VERSION, ZEND_MODULE_BUILD_ID, found);
	return problem;
}

const char *shim_host_problem(void)
{
	char found[128];
	Dl_info own = {0};

	dladdr((void *) shim_host_problem, &own);
	if (!dl_iterate_phdr(search_object, own.dli_fbase) || !dlsym(RTLD_DEFAULT, "php_module_startup")) {
		return unlike("an executable that is no PHP, or does not export PHP's functions");
	}
	if (strcmp(build_id, ZEND_MODULE_BUILD_ID) == 0) {
		return NULL;
	}
	snprintf(found, sizeof found, "PHP %s (%s%s%s)", minor_of(build_id), build_id,
		strstr(build_id, ",TS") ? ": thread-safe" : "", strstr(build_id, ",debug") ? ": a debug build" : "");
	return unlike(found);
}

/* "Zend Engine v4.2.35, Copyright …" -> "8.2.35": PHP 8.x carries Zend Engine 4.x. */
const char *shim_php_version(void)
{
	static char version[32];
	unsigned major, minor, patch;

	if (sscanf(get_zend_version(), "Zend Engine v%u.%u.%u", &major, &minor, &patch) == 3) {
		snprintf(version, sizeof version, "%u.%u.%u", major + 4, minor, patch);
	}
	return version;
}
