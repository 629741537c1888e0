int keel_sdk_anchor; /* SwiftPM wants one C file beside the headers. */
