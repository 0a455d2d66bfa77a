/* Whether this processor runs the library's code. */
#ifndef VS_APPLICABLE_H
#define VS_APPLICABLE_H

int applicable(void);

#endif
