import Glibc
import KeelCore

/// `keel plugin check`: runs the tests, each in a process of its own, several at a time.
package struct ConformanceSuite {
    package struct Options: Sendable {
        package var include: [String] = []
        package var exclude: [String] = []
        /// Seconds that one test may take.
        package var timeout = 20.0
        package var seed: UInt64 = 1
        /// Parameters for the components.
        package var params = JSONObject()
        /// Processes at a time.
        package var jobs = max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
        /// Memory that one test may take.
        package var maxBytes = 1 << 30
        /// The `keel` that test processes run.
        package var executable = Files.executable

        package init() {}
    }

    /// What the suite found out about a file.
    package struct Report: Sendable {
        package var path: String
        package var seed: UInt64
        package var plugin: String
        package var results: [ConformanceResult]
        package var seconds: Double

        package func count(_ level: ConformanceLevel) -> Int {
            results.count { $0.level == level }
        }
    }

    private struct Task {
        var test: ConformanceTest
        var component: Component?
        var processes: [TestProcess] = []
        var answers: [Answer] = []
        var began = 0.0

        /// Whether a process works for it; between two it only waits.
        var isBusy: Bool { processes.count > answers.count }
    }

    private struct Answer {
        var ending: TestProcess.Ending
        var json: JSON?
        /// Where the test last said it was.
        var place: String
        var lastWords: String
    }

    let path: String
    let options: Options

    package init(path: String, options: Options) {
        self.path = path
        self.options = options
    }

    /// Runs all tests on the file and its components.
    ///
    /// - Parameters:
    ///   - only: the name of one component; nil = all.
    ///   - report: told of each result as soon as it is there.
    /// - Throws: `KeelError` when processes cannot be started, or the file has no such component.
    package func run(
        only: String? = nil, report: (ConformanceResult) -> Void = { _ in }
    ) throws -> Report {
        let begin = Clock.now()
        var results: [ConformanceResult] = []
        let chosen = ConformanceTest.all.filter(isWanted)
        // `valid` tells what the file holds, so it is run in any case.
        let first = ConformanceTest.all.filter {
            $0.kinds.isEmpty && (isWanted($0) || $0.id == "descriptor.valid")
        }
        var facts = JSONObject()
        try run(first.map { Task(test: $0) }, &results, &facts, report)
        let all = (facts["components"]?.array ?? []).compactMap(Component.init(json:))
        let components = all.filter { only == nil || $0.name == only }
        if let only, components.isEmpty, !all.isEmpty {
            let near =
                nearest(only, among: all.map(\.name)).map { "did you mean \"\($0)\"? " } ?? ""
            throw KeelError(
                "plugin", "the plugin holds no component called \"\(only)\"", at: path,
                fix: near + "it holds: \(all.map(\.name).joined(separator: ", "))",
                code: .unavailable)
        }
        results.removeAll { !isWanted($0.test) }
        // All components at once: while one waits for its second process, others go on.
        let tasks = components.flatMap { component in
            chosen.filter { $0.kinds.contains(component.kind) }.map {
                Task(test: $0, component: component)
            }
        }
        try run(tasks, &results, &facts, report)
        let plugin = all.first.map { "\($0.pluginID) \($0.pluginVersion)" } ?? Files.name(path)
        return Report(
            path: path, seed: options.seed, plugin: plugin, results: results,
            seconds: Clock.now() - begin)
    }

    private func isWanted(_ test: ConformanceTest) -> Bool {
        (options.include.isEmpty || options.include.contains(where: test.matches))
            && !options.exclude.contains(where: test.matches)
    }

    // MARK: - Tasks

    private func run(
        _ tasks: [Task], _ results: inout [ConformanceResult], _ facts: inout JSONObject,
        _ report: (ConformanceResult) -> Void
    ) throws {
        var waiting = tasks
        var running: [Task] = []
        var done: [String?: [String: ConformanceResult]] = [:]
        defer {
            for task in running { for process in task.processes { _ = process.end(.timedOut) } }
        }
        func finish(_ result: ConformanceResult) {
            done[result.component, default: [:]][result.test.id] = result
            report(result)
        }
        while !waiting.isEmpty || !running.isEmpty {
            var index = 0
            while index < waiting.count {
                let name = waiting[index].component?.name
                let open = (waiting + running).filter { $0.component?.name == name }.map(\.test.id)
                switch readiness(waiting[index], done[name] ?? [:], open: open) {
                case .wait: index += 1
                case .skip(let reason, let isConsequence):
                    let task = waiting.remove(at: index)
                    var skipped = result(task, .skip, reason)
                    skipped.isConsequence = isConsequence
                    finish(skipped)
                case .go:
                    guard running.count(where: \.isBusy) < options.jobs else {
                        index = waiting.count
                        continue
                    }
                    var task = waiting.remove(at: index)
                    task.began = Clock.now()
                    task.processes = [try start(task)]
                    running.append(task)
                }
            }
            for index in running.indices.reversed() {
                guard try step(&running[index]) else { continue }
                let task = running.remove(at: index)
                let found = judge(task)
                for (key, value) in task.answers.first?.json?["facts"]?.object ?? JSONObject() {
                    facts[key] = value
                }
                finish(found)
            }
            if !running.isEmpty { usleep(1000) }
        }
        results += tasks.compactMap { done[$0.component?.name]?[$0.test.id] }
    }

    private enum Readiness {
        case go, wait
        case skip(String, isConsequence: Bool)
    }

    private func readiness(
        _ task: Task, _ done: [String: ConformanceResult], open: [String]
    ) -> Readiness {
        let test = task.test
        if let component = task.component, let reason = test.skip(component) {
            return .skip(reason, isConsequence: false)
        }
        let others = open.filter { $0 != test.id }
        if test.after == ["*"] {
            if !others.isEmpty { return .wait }
            let failed = done.values.first { $0.level == .fail }
            return failed.map { .skip("\($0.test.id) failed", isConsequence: true) } ?? .go
        }
        for name in test.after {
            // A name means the test of the own group, else any.
            let known = Array(done.keys) + others
            let id =
                known.first { $0 == "\(test.group.rawValue).\(name)" }
                ?? known.first { $0.hasSuffix(".\(name)") }
            guard let id else { continue }
            guard let result = done[id] else { return .wait }
            let isBroken =
                result.level == .fail || result.level == .skip && result.isConsequence
                || result.level == .warn && name == "runs" && !result.what.isEmpty
                    && result.what.hasPrefix("`create` refuses")
            if isBroken {
                let words = result.level == .fail ? "failed" : "could not be run"
                return .skip("\(id) \(words)", isConsequence: true)
            }
        }
        return .go
    }

    private func start(_ task: Task) throws -> TestProcess {
        var command = [
            options.executable, "plugin", "check", path, "--run-test", task.test.id, "--seed",
            "\(options.seed)", "--timeout", "\(options.timeout)", "--params",
            JSON.object(options.params).text(),
        ]
        if let component = task.component { command += ["--component", component.name] }
        return try TestProcess(command, timeout: options.timeout, maxBytes: options.maxBytes)
    }

    /// Goes on with a task; true when it has ended.
    private func step(_ task: inout Task) throws -> Bool {
        if let last = task.processes.indices.last, task.answers.count == last {
            guard let ending = task.processes[last].poll() else { return false }
            task.answers.append(ConformanceSuite.answer(task.processes[last], ending))
        }
        // A second process, when the test is to be repeated and the first one was content.
        guard let delay = task.test.replay, task.answers.count == 1,
            task.answers[0].json?["level"]?.string == "pass"
        else { return true }
        if Clock.now() - task.began >= delay { task.processes.append(try start(task)) }
        return false
    }

    private static func answer(_ process: TestProcess, _ ending: TestProcess.Ending) -> Answer {
        let (text, output) = process.collect()
        let lines = text.split(separator: "\n")
        let json = lines.last.flatMap { $0.hasPrefix("{") ? try? JSON.parse(String($0)) : nil }
        let place = lines.last { $0.hasPrefix("@") }.map { String($0.dropFirst()) } ?? "loading"
        // What Keel's own handler of fatal signals says is in the ending already.
        let words = output.split(separator: "\n").filter {
            !$0.hasPrefix("error[plugin]: ") && !$0.hasPrefix("  at:  ")
        }.suffix(2).map(String.init).joined(separator: " ")
        return Answer(
            ending: ending, json: json, place: place, lastWords: String(words.prefix(300)))
    }

    // MARK: - Verdicts

    private func result(
        _ task: Task, _ level: ConformanceLevel, _ what: String, fix: String? = nil
    ) -> ConformanceResult {
        ConformanceResult(
            test: task.test, component: task.component?.name, level: level, what: what, fix: fix,
            seconds: task.began == 0 ? 0 : Clock.now() - task.began)
    }

    private func judge(_ task: Task) -> ConformanceResult {
        for answer in task.answers {
            guard answer.ending == .exited(0), let json = answer.json else {
                return died(task, answer)
            }
            let level = json["level"]?.string.flatMap(ConformanceLevel.init) ?? .fail
            if level != .pass {
                return result(
                    task, level, json["what"]?.string ?? "", fix: json["fix"]?.string)
            }
        }
        let digests = task.answers.compactMap { $0.json?["digest"]?.string }
        if digests.count == 2, digests[0] != digests[1],
            !(task.test.group == .fuzz && digests.contains(""))
        {
            return result(
                task, .fail, "a second process with the same seed comes to something else",
                fix:
                    "no clocks, addresses or random numbers of the system: keel_random is made for this; else set KEEL_NONDETERMINISTIC"
            )
        }
        return result(task, .pass, task.answers.first?.json?["what"]?.string ?? "")
    }

    private func died(_ task: Task, _ answer: Answer) -> ConformanceResult {
        let cause = TestProcess.words(
            answer.ending, timeout: options.timeout, maxBytes: options.maxBytes)
        if task.test.leavesCrashes {
            return result(task, .skip, "\(cause), which is for `runs` to report")
        }
        var what = "\(cause) in: \(answer.place)"
        if !answer.lastWords.isEmpty { what += "; its last words: \(answer.lastWords)" }
        let fix: String? =
            switch answer.ending {
            case .exited: "return from the callback: exit ends the run's process too"
            case .timedOut: "return soon; a slow reward gets more time with --timeout"
            case .tooLarge: "free memory when it is no longer needed"
            case .killed: nil
            }
        return result(task, .fail, what, fix: fix)
    }
}
