import Glibc
import KeelBridge
import KeelCore
import KeelTensor
import KeelText

/// `keel doctor`: what Keel sees of the machine it runs on.
package struct Doctor {
    /// Titled lists of facts, in the order they are printed.
    private(set) var sections: [(title: String, facts: [(name: String, value: String)])] = []
    /// What will not work, in words.
    private(set) var problems: [String] = []

    /// Looks at the build, the CPU, the libraries, the plugin folders and the user's folders.
    package static func report(catalog: PluginCatalog) -> Doctor {
        var doctor = Doctor()
        doctor.sections.append(
            (
                "build",
                [
                    ("keel", Build.version), ("machine", Build.machine),
                    ("swift", Build.swiftVersion),
                    ("mode", Build.isRelease ? "release" : "debug"),
                    ("executable", Files.executable),
                ]
            ))
        doctor.sections.append(("cpu", cpu()))
        doctor.sections.append(
            (
                "libraries",
                [
                    ("libc", Build.libcVersion), ("json-c", Build.jsonCVersion),
                    ("oneDNN", TensorLibraries.oneDNNVersion),
                    ("pcre2", TextLibraries.pcre2Version),
                    ("utf8proc", TextLibraries.utf8procVersion),
                ]
            ))
        doctor.plugins(catalog)
        doctor.folders()
        return doctor
    }

    /// The report for people.
    package var text: String {
        var lines: [String] = []
        for (title, facts) in sections {
            lines.append(title)
            let width = facts.map(\.name.count).max() ?? 0
            for (name, value) in facts {
                lines.append(
                    "  \(name)\(String(repeating: " ", count: width - name.count))  \(value)")
            }
        }
        lines.append(problems.isEmpty ? "no problems found" : "problems")
        return (lines + problems.map { "  \($0)" }).joined(separator: "\n")
    }

    package var json: JSON {
        var object = JSONObject(
            pairs: sections.map { section in
                (
                    section.title,
                    .object(JSONObject(pairs: section.facts.map { ($0.name, .string($0.value)) }))
                )
            })
        object.append("problems", .array(problems.map { .string($0) }))
        return .object(object)
    }

    package var code: ExitCode { problems.isEmpty ? .ok : .unavailable }

    private static func cpu() -> [(name: String, value: String)] {
        let lines = ((try? Files.readText("/proc/cpuinfo")) ?? "").split(separator: "\n")
        func field(_ name: String) -> String? {
            lines.first { $0.hasPrefix(name) }?.split(separator: ":", maxSplits: 1).last.map {
                String($0.drop { $0 == " " })
            }
        }
        let flags = Set(
            (field("flags") ?? field("Features") ?? "").split(separator: " ").map(String.init))
        let telling = [
            "avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "bf16",
            "sve",
        ]
        let memory = sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))
        return [
            ("model", field("model name") ?? "unknown"),
            ("cores", String(sysconf(Int32(_SC_NPROCESSORS_ONLN)))),
            ("memory", "\((Double(memory) / 1_073_741_824).text(digits: 3)) GiB"),
            ("features", telling.filter(flags.contains).joined(separator: " ")),
        ]
    }

    private mutating func plugins(_ catalog: PluginCatalog) {
        sections.append(
            (
                "plugin folders",
                catalog.searchPaths.map { ($0, Files.isDirectory($0) ? "there" : "absent") }
            ))
        let (components, broken) = catalog.list()
        var facts = [("contract", "keel_plugin_v1, minor \(HostTable.minor)")]
        for kind in ComponentKind.allCases {
            let names = components.filter { $0.kind == kind }.map(\.name).sorted()
            facts.append((kind.words + "s", names.isEmpty ? "none" : names.joined(separator: " ")))
        }
        sections.append(("plugins", facts))
        problems += broken.map { "\($0.path): \($0.error.what)" }
        if components.isEmpty { problems.append("no plugins were found in the search folders") }
    }

    private mutating func folders() {
        let cache = Files.userFolder("XDG_CACHE_HOME", ".cache")
        var facts = [("cache", cache)]
        do {
            try Files.makeDirectory(cache)
            if access(cache, W_OK) != 0 {
                problems.append("the cache folder cannot be written: \(cache)")
            }
        } catch {
            problems.append("the cache folder cannot be made: \(cache)")
        }
        facts.append(("current", Files.currentDirectory))
        sections.append(("folders", facts))
    }
}
