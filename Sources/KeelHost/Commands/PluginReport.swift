import KeelBridge
import KeelCore

/// `keel plugin list` and `keel plugin info`.
package enum PluginReport {
    // MARK: - list

    /// Every plugin that the search finds, one line each; broken files last.
    package static func list(catalog: PluginCatalog) -> String {
        let (components, broken) = catalog.list()
        if components.isEmpty, broken.isEmpty {
            return "no plugins found in:\n"
                + catalog.searchPaths.map { "  \($0)" }.joined(separator: "\n")
        }
        var lines: [String] = []
        for kind in ComponentKind.allCases {
            let some = components.filter { $0.kind == kind }.sorted {
                ($0.name, $0.path) < ($1.name, $1.path)
            }
            guard !some.isEmpty else { continue }
            lines.append("\(kind.words)s")
            lines += table(some.map { [$0.name, $0.pluginVersion, $0.help, $0.path] })
        }
        if !broken.isEmpty {
            lines.append("cannot be used")
            lines += table(broken.map { [Files.name($0.path), $0.error.what, $0.path] })
        }
        return lines.joined(separator: "\n")
    }

    package static func listJSON(catalog: PluginCatalog) -> JSON {
        let (components, broken) = catalog.list()
        return [
            "plugins": .array(components.map(\.json)),
            "broken": .array(
                broken.map { ["path": .string($0.path), "error": .string($0.error.what)] }),
            "search_paths": .array(catalog.searchPaths.map(JSON.string)),
        ]
    }

    // MARK: - info

    /// What one component says about itself, for people.
    package static func info(_ component: Component) -> String {
        var facts: [[String]] = [
            [
                "plugin",
                "\(component.pluginID) \(component.pluginVersion), contract minor \(component.api)",
            ],
            ["file", component.path],
            ["sha256", component.sha256],
        ]
        if let data = component.data { facts.append(["data", data]) }
        if !component.needs.isEmpty {
            facts.append(["needs", component.needs.joined(separator: ", ")])
        }
        if !component.gives.isEmpty {
            facts.append(["gives", component.gives.joined(separator: ", ")])
        }
        if !component.heads.isEmpty {
            facts.append(["heads", component.heads.joined(separator: ", ")])
        }
        if component.kind == .objective {
            facts.append(["reduction", component.reduction ?? "row_mean"])
        }
        if !component.flags.isEmpty {
            facts.append(["flags", component.flags.list.joined(separator: ", ")])
        }
        facts.append([
            "state",
            component.hasCallback("save") ? "saved, version \(component.stateVersion)" : "none",
        ])
        var lines = ["\(component.title): \(component.help)"]
        lines += table(facts)
        if component.phases.count > 1
            || component.phases.first.map({ $0.name != "policy" }) ?? false
        {
            lines.append("phases")
            lines += table(
                component.phases.map {
                    [
                        $0.name, "trains \($0.trains.joined(separator: ", "))",
                        "needs \($0.needs.joined(separator: ", "))",
                    ]
                })
        }
        lines.append(component.parameters.isEmpty ? "no parameters" : "parameters")
        lines += table(
            component.parameters.map {
                [$0.name, $0.kind.rawValue, $0.fallback.text(), $0.allowed ?? "", $0.help]
            })
        lines.append("config")
        lines.append("  " + snippet(component))
        return lines.joined(separator: "\n")
    }

    /// The same for machines.
    package static func infoJSON(_ component: Component) -> JSON {
        var json = component.json
        if case .object(var object) = json {
            object["config"] = .string(snippet(component))
            json = .object(object)
        }
        return json
    }

    /// A piece of a config that uses the component with its defaults.
    static func snippet(_ component: Component) -> String {
        let reference = component.isBuiltIn ? component.name : component.path
        var entry: JSONObject = ["plugin": .string(reference)]
        if component.kind == .reward {
            entry["name"] = .string(component.name)
            entry["weight"] = 1.0
        }
        entry["params"] = .object(
            JSONObject(pairs: component.parameters.map { ($0.name, $0.fallback) }))
        let key =
            switch component.kind {
            case .reward: "rewards"
            case .objective: "objective"
            case .tokenSampler: "sampler"
            case .dataSampler: "order"
            }
        let value = component.kind == .reward ? JSON.array([.object(entry)]) : .object(entry)
        return "\"\(key)\": \(value.text())"
    }

    /// Columns side by side, two spaces apart; the last one is not padded.
    static func table(_ rows: [[String]]) -> [String] {
        let columns = rows.map(\.count).max() ?? 0
        let widths = (0..<columns).map { column in
            rows.map { column < $0.count ? $0[column].unicodeScalars.count : 0 }.max() ?? 0
        }
        return rows.map { row in
            var line = " "
            for (column, cell) in row.enumerated() {
                line += " " + cell
                if column + 1 < row.count {
                    line += String(
                        repeating: " ", count: widths[column] - cell.unicodeScalars.count + 1)
                }
            }
            while line.hasSuffix(" ") { line.removeLast() }
            return line
        }
    }
}
