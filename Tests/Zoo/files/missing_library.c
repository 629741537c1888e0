/* Names a library that is nowhere (the build links a stub of it and deletes the stub). */
#include "file.h"
KEEL_PLUGIN("org.example.zoo.missing_library", "1.0.0", &plain_component)
