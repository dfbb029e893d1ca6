/* PHP's own view of the file system: its realpath cache answers most questions without a system call. */
#include "internal.h"

bool shim_path_resolves(const char *path)
{
	volatile bool found = false;

	zend_first_try {
		char *real = tsrm_realpath(path, NULL);
		if (real) {
			efree(real);
			found = true;
		}
	} zend_end_try();
	return found;
}
