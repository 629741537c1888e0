#include "cworker.h"
