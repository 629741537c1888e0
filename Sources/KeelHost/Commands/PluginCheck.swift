import KeelBridge
import KeelCore

/// `keel plugin check`: the conformance suite on one plugin, printed.
package struct PluginCheck {
    package struct Options: Sendable {
        package var suite = ConformanceSuite.Options()
        package var isJSON = false
        /// Prints what passes, too.
        package var isVerbose = false

        package init() {}
    }

    private let path: String
    private let component: String?
    private let options: Options

    /// - Parameter plugin: a component's name, a path, or `path#component`.
    /// - Throws: `KeelError` (unavailable) when there is no such plugin.
    package init(plugin: String, options: Options, catalog: PluginCatalog) throws {
        self.options = options
        if plugin.contains("/") || plugin.contains(".so") {
            // The file is not loaded here: it may be bad.
            let hash = plugin.lastIndex(of: "#")
            path = Files.absolute(hash.map { String(plugin[..<$0]) } ?? plugin)
            component = hash.map { String(plugin[plugin.index(after: $0)...]) }
            guard Files.exists(path) else {
                throw KeelError(
                    "plugin", "no such plugin file", at: path,
                    fix: "check the path, or name a plugin of `keel plugin list`",
                    code: .unavailable)
            }
        } else {
            let found = try catalog.find(plugin, kind: nil)
            path = found.path
            component = found.name
        }
        for pattern in options.suite.include + options.suite.exclude
        where !ConformanceTest.all.contains(where: { $0.matches(pattern) }) {
            let known =
                ConformanceTest.all.map(\.id) + ConformanceTest.Group.allCases.map(\.rawValue)
            let near = nearest(pattern, among: known).map { "did you mean \"\($0)\"? " } ?? ""
            throw KeelError(
                "usage", "no test is called \"\(pattern)\"",
                fix: near + "`keel plugin check --list` shows all", code: .usage)
        }
    }

    /// Runs the suite and prints what it finds.
    ///
    /// - Returns: failed when a test failed.
    package func run() throws -> ExitCode {
        let suite = ConformanceSuite(path: path, options: options.suite)
        let report = try suite.run(only: component)
        print(options.isJSON ? PluginCheck.json(report).text() : text(report))
        return report.count(.fail) == 0 ? .ok : .failed
    }

    // MARK: - For machines

    package static func json(_ report: ConformanceSuite.Report) -> JSON {
        var counts = JSONObject()
        for level in [ConformanceLevel.pass, .warn, .fail, .skip] {
            counts[level.rawValue] = JSON(report.count(level))
        }
        return [
            "plugin": .string(report.plugin), "path": .string(report.path),
            "seed": .int(Int64(clamping: report.seed)),
            "seconds": .double((report.seconds * 1000).rounded() / 1000),
            "counts": .object(counts), "results": .array(report.results.map(\.json)),
        ]
    }

    // MARK: - For people

    private func text(_ report: ConformanceSuite.Report) -> String {
        var lines = ["\(report.plugin), seed \(report.seed)", "  \(report.path)"]
        var seen: [String?] = []
        for result in report.results where !seen.contains(result.component) {
            seen.append(result.component)
            lines.append(result.component ?? "file")
            let own = report.results.filter { $0.component == result.component }
            let width = own.map { $0.test.id.utf8.count }.max() ?? 0
            for one in own where !one.isConsequence || options.isVerbose {
                lines += line(one, width)
            }
            let unrun = own.count { $0.isConsequence }
            if unrun > 0, !options.isVerbose {
                lines.append("  skip  \(unrun) tests that build on one that failed")
            }
        }
        lines.append(summary(report))
        if let first = report.results.first(where: { $0.level == .fail }) {
            let target = first.component.map { "\(report.path)#\($0)" } ?? report.path
            lines.append(
                "again: keel plugin check \(target) --include \(first.test.id) --seed \(report.seed)"
            )
        }
        return lines.joined(separator: "\n")
    }

    private func line(_ result: ConformanceResult, _ width: Int) -> [String] {
        let padding = String(repeating: " ", count: width - result.test.id.utf8.count)
        let level = result.level == .fail ? "FAIL" : result.level.rawValue
        let isQuiet = result.level == .pass && !options.isVerbose
        var line = "  \(level)  \(result.test.id)"
        if !result.what.isEmpty, !isQuiet || result.test.name == "time" {
            line += "\(padding)  \(result.what)"
        }
        if options.isVerbose {
            line += result.what.isEmpty ? padding + "  " : "; "
            line += "\(Int((result.seconds * 1000).rounded())) ms"
        }
        guard let fix = result.fix, result.level != .pass else { return [line] }
        return [line, "        fix: \(fix)"]
    }

    private func summary(_ report: ConformanceSuite.Report) -> String {
        var parts = ["\(report.count(.pass)) passed"]
        for (level, word) in [
            (ConformanceLevel.warn, "warned"), (.fail, "failed"), (.skip, "skipped"),
        ] {
            if report.count(level) > 0 { parts.append("\(report.count(level)) \(word)") }
        }
        return parts.joined(separator: ", ")
            + " (\((report.seconds * 10).rounded() / 10) s)"
    }

    /// Every test with a line of explanation.
    package static func list() -> String {
        var lines: [String] = []
        for group in ConformanceTest.Group.allCases {
            lines.append(group.rawValue)
            lines += PluginReport.table(
                ConformanceTest.all.filter { $0.group == group }.map {
                    let kinds = ComponentKind.allCases.filter($0.kinds.contains).map(\.words)
                    let scope =
                        kinds.isEmpty
                        ? "file" : kinds.count == 4 ? "every kind" : kinds.joined(separator: ", ")
                    return [$0.id, scope, $0.help]
                })
        }
        return lines.joined(separator: "\n")
    }
}
