/* Ends the process that loads it. */
#include "file.h"
#include <stdlib.h>
__attribute__((constructor)) static void leave(void) { abort(); }
KEEL_PLUGIN("org.example.zoo.crash_at_load", "1.0.0", &plain_component)
