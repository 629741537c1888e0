/* Exports a helper beside the entry. */
#include "file.h"
KEEL_EXPORT int zoo_helper(void);
KEEL_EXPORT int zoo_helper(void) { return 1; }
KEEL_PLUGIN("org.example.zoo.second_export", "1.0.0", &plain_component)
