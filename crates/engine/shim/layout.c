/* Where PHP keeps what a backtrace is made of: the offsets of the headers we are compiled with, the addresses of the
 * process we are in, which are those of all processes forked from it. */
#include "internal.h"

struct shim_layout shim_layout(void)
{
	return (struct shim_layout) {
		.current_frame = (uintptr_t) &EG(current_execute_data),
		.script = (uintptr_t) &SG(request_info).path_translated,
		.frame_instruction = offsetof(zend_execute_data, opline),
		.frame_function = offsetof(zend_execute_data, func),
		.frame_kind = offsetof(zend_execute_data, This.u1.type_info),
		.frame_caller = offsetof(zend_execute_data, prev_execute_data),
		.function_type = offsetof(zend_function, type),
		.function_name = offsetof(zend_function, common.function_name),
		.function_file = offsetof(zend_function, op_array.filename),
		.function_code = offsetof(zend_function, op_array.opcodes),
		.function_length = offsetof(zend_function, op_array.last),
		.built_in = ZEND_INTERNAL_FUNCTION,
		.instruction_size = sizeof(zend_op),
		.instruction_line = offsetof(zend_op, lineno),
		.string_length = offsetof(zend_string, len),
		.string_text = offsetof(zend_string, val),
		.kind_mask = ZEND_CALL_CODE | ZEND_CALL_TOP,
		.kind_top_code = ZEND_CALL_TOP_CODE,
	};
}
