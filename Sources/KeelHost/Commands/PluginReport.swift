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
            lines += table(
                some.map { [$0.name, $0.pluginVersion, $0.help, $0.path] }, widest: 100)
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
    ///
    /// - Parameter isOnly: whether its file holds no other; then the path alone names it.
    package static func info(_ component: Component, isOnly: Bool = true) -> String {
        var facts: [[String]] = [
            [
                "plugin",
                "\(component.pluginID) \(component.pluginVersion), contract minor \(component.api)",
            ],
            ["file", component.path],
            ["sha256", component.sha256],
            ["runs", isInWorker(component) ? "in worker processes" : "in the process of the run"],
        ]
        if let data = component.data { facts.append(["data", data]) }
        for (name, list) in [
            ("needs", component.needs), ("gives", component.gives), ("heads", component.heads),
        ] where !list.isEmpty {
            facts.append([name, list.joined(separator: ", ")])
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
        if component.sequenceBytes > 0 {
            facts.append(["memory", "\(component.sequenceBytes) bytes of each sequence"])
        }
        var lines = ["\(component.title): \(component.help)"]
        lines += table(facts)
        let phases = component.phases
        if phases.count > 1 || phases.first.map({ $0.name != "policy" }) ?? false {
            lines.append("phases")
            for phase in phases {
                lines.append("  " + phase.name)
                lines += table(PluginReport.facts(phase)).map { "  " + $0 }
            }
        }
        lines.append(component.parameters.isEmpty ? "no parameters" : "parameters")
        lines += table(
            component.parameters.map {
                [$0.name, $0.kind.rawValue, $0.fallback.text(), $0.allowed ?? "", $0.help]
            })
        lines.append("config")
        lines += snippet(component, isOnly: isOnly).split(separator: "\n").map { "  " + $0 }
        return lines.joined(separator: "\n")
    }

    /// What differs from the component in one of its phases.
    private static func facts(_ phase: Phase) -> [[String]] {
        var rows = [["trains", phase.trains.joined(separator: ", ")]]
        if let data = phase.data { rows.append(["data", data]) }
        if !phase.needs.isEmpty { rows.append(["needs", phase.needs.joined(separator: ", ")]) }
        if let reduction = phase.reduction { rows.append(["reduction", reduction]) }
        if let epochs = phase.epochs { rows.append(["epochs", "the parameter \(epochs)"]) }
        if let steps = phase.steps { rows.append(["steps", "the parameter \(steps)"]) }
        if !phase.flags.isEmpty {
            rows.append(["flags", phase.flags.list.joined(separator: ", ")])
        }
        return rows
    }

    /// Whether runs put it in a process of its own unless told otherwise.
    private static func isInWorker(_ component: Component) -> Bool {
        component.kind == .reward || component.kind == .dataSampler
    }

    /// The same for machines; "config" is what a config needs to hold.
    package static func infoJSON(_ component: Component, isOnly: Bool = true) -> JSON {
        var json = component.json
        if case .object(var object) = json {
            object["config"] = .object(config(component, isOnly: isOnly))
            json = .object(object)
        }
        return json
    }

    /// A piece of a config that uses the component with its defaults, ready to be pasted.
    static func snippet(_ component: Component, isOnly: Bool = true) -> String {
        let lines = JSON.object(config(component, isOnly: isOnly)).text(pretty: true)
            .split(separator: "\n").dropFirst().dropLast()
        return lines.map { $0.hasPrefix("  ") ? $0.dropFirst(2) : $0 }.joined(separator: "\n")
    }

    private static func config(_ component: Component, isOnly: Bool) -> JSONObject {
        let path = isOnly ? component.path : "\(component.path)#\(component.name)"
        var entry: JSONObject = [
            "plugin": .string(component.isBuiltIn ? component.name : path)
        ]
        if component.kind == .reward {
            entry["name"] = .string(component.name)
            entry["weight"] = 1.0
            // The host loads the model that these two ask for.
            if component.needs.contains("model_scores") {
                entry["model"] = ["path": "path/to/reward-model"]
            }
            if component.hasCallback("ask") { entry["judge"] = ["path": "path/to/judge"] }
        }
        entry["params"] = .object(
            JSONObject(pairs: component.parameters.map { ($0.name, $0.fallback) }))
        switch component.kind {
        case .reward: return ["rewards": [.object(entry)]]
        case .objective: return ["objective": .object(entry)]
        case .tokenSampler: return ["sampler": .object(entry)]
        case .dataSampler: return ["order": .object(entry)]
        }
    }

    /// Columns side by side, two spaces apart; the last one is not padded.
    ///
    /// - Parameter widest: cells longer than this do not widen their column.
    static func table(_ rows: [[String]], widest: Int = 40) -> [String] {
        let columns = rows.map(\.count).max() ?? 0
        let widths = (0..<columns).map { column in
            rows.map { column < $0.count ? $0[column].unicodeScalars.count : 0 }
                .filter { $0 <= widest }.max() ?? 0
        }
        return rows.map { row in
            var line = " "
            for (column, cell) in row.enumerated() {
                line += " " + cell
                if column + 1 < row.count {
                    let missing = max(0, widths[column] - cell.unicodeScalars.count)
                    line += String(repeating: " ", count: missing + 1)
                }
            }
            while line.hasSuffix(" ") { line.removeLast() }
            return line
        }
    }
}
