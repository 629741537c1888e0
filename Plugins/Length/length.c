int keel_plugin_v1;
