/* Greets when it is loaded. */
#include "file.h"
#include <stdio.h>
__attribute__((constructor)) static void greet(void) {
    printf("zoo: ready\n");
    fflush(stdout);
}
KEEL_PLUGIN("org.example.zoo.output_at_load", "1.0.0", &plain_component)
