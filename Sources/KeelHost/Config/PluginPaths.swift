import KeelCore

/// The folders in which plugins are looked up by name, the first that has one wins.
package enum PluginPaths {
    /// `--plugin-path`, `KEEL_PLUGIN_PATH`, the user's folder, the system's, beside the executable.
    ///
    /// - Parameter flags: the `--plugin-path` arguments, relative to the current folder.
    package static func all(_ flags: [String] = []) -> [String] {
        let variable = (Files.environment("KEEL_PLUGIN_PATH") ?? "").split(separator: ":").map(
            String.init)
        let beside = Files.parent(Files.executable)
        let installed = Files.join(Files.parent(beside), "lib/keel/plugins")
        let folders =
            flags + variable + [
                Files.join(Files.userFolder("XDG_DATA_HOME", ".local/share"), "plugins"),
                installed, "/usr/local/lib/keel/plugins", "/usr/lib/keel/plugins", beside,
            ]
        var seen: Set<String> = []
        return folders.map(Files.absolute).filter { seen.insert($0).inserted }
    }
}
