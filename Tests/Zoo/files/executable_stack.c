/* Linked with an executable stack (the build adds -z execstack). */
#include "file.h"
KEEL_PLUGIN("org.example.zoo.executable_stack", "1.0.0", &plain_component)
