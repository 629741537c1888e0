import CKeel
import KeelCore

/// Errors of the host, stops and bad parameters: the plugin returns, and the process lives.
extension ConformanceTest {
    static let errorTests: [ConformanceTest] = [
        error(
            "services",
            "When a host function fails, in turn each one that it uses, it returns without harm.",
            run: testServices),
        error(
            "recovers", "A call that failed leaves no trace in the next one.",
            after: ["services", "instances"],
            skip: {
                $0.flags.contains(.nondeterministic)
                    ? "it says it is nondeterministic"
                    : $0.hasCallback("save") ? "it has a state" : nil
            }, run: testRecovers),
        error("cancelled", "It returns soon when the run is stopping.", run: testCancelled),
        error(
            "facts", "It does without facts of the run that are unknown (NaN).", run: testFacts),
        error(
            "refuses", "What `create` refuses, it refuses with a text.", after: ["limits"],
            run: testRefuses),
    ]

    private static func error(
        _ name: String, _ help: String,
        after: [String] = ["runs", "repeated", "prepare", "empty_text", "fields"],
        skip: @escaping @Sendable (Component) -> String? = { _ in nil },
        run: @escaping @Sendable (Trial) throws -> Void
    ) -> ConformanceTest {
        ConformanceTest(
            .errors, name, help, kinds: everyKind, after: after, skip: skip, run: run)
    }

    /// The services it uses from create to save, and how often.
    private static func used(_ trial: Trial) throws -> [(HostProbe.Service, Int)] {
        var rig: (any Rig)?
        var counts = try HostProbe.tracing { rig = try trial.rig() }.counts
        let work = try HostProbe.tracing {
            _ = try rig?.work(0)
            _ = try rig?.instance.save()
        }
        counts.merge(work.counts, uniquingKeysWith: max)
        return HostProbe.Service.allCases.compactMap { service in
            counts[service].map { (service, $0) }
        }
    }

    private static func testServices(_ trial: Trial) throws {
        var tried: [String] = []
        for (service, count) in try used(trial) {
            tried.append(service.rawValue)
            for call in Set([1, 2, (count + 1) / 2, count]).filter({ $0 >= 1 && $0 <= count }) {
                trial.circumstances =
                    "where the host function `\(service.rawValue)` fails, call \(call)"
                HostProbe.failing(service, call: call) { _ = try? bare(trial) }
                let rig = try? trial.rig()
                HostProbe.failing(service, call: call) {
                    _ = try? rig?.work(0)
                    _ = try? rig?.instance.save()
                }
            }
        }
        trial.note("failed in turn: \(tried.joined(separator: ", "))")
    }

    /// Creates an instance and destroys it.
    private static func bare(_ trial: Trial) throws {
        trial.at("create")
        _ = try Instance(
            trial.subject, catalog: trial.catalog, parameters: try trial.parameters(),
            seed: trial.seed, context: RewardRig.context())
    }

    private static func testRecovers(_ trial: Trial) throws {
        let expected = try trial.rig().work(0)
        for (service, _) in try used(trial) {
            guard let rig = try? trial.rig() else { continue }
            HostProbe.failing(service, call: 1) { _ = try? rig.work(0) }
            trial.circumstances = "after a call where `\(service.rawValue)` failed"
            guard try rig.work(0) != expected else { continue }
            throw Finding.fail(
                "after a call in which `\(service.rawValue)` failed, the next one gives something else",
                fix: "leave nothing half done behind when a host function fails")
        }
    }

    private static func testCancelled(_ trial: Trial) throws {
        let rig = try trial.rig()
        trial.circumstances = "while the run is stopping"
        do { try rig.workWhileStopping() } catch let error as KeelError {
            try expectText(error, "a call while the run is stopping")
        }
    }

    private static func testFacts(_ trial: Trial) throws {
        let original = HostProbe.original
        var host = HostTable.pointer.pointee
        host.fact = { _, _ in .nan }
        UnsafeMutablePointer(mutating: HostTable.pointer).pointee = host
        defer {
            host.fact = original.fact
            UnsafeMutablePointer(mutating: HostTable.pointer).pointee = host
        }
        do { _ = try trial.rig().work(0) } catch let error as KeelError {
            try expectText(error, "to work without facts")
        }
    }

    private static func testRefuses(_ trial: Trial) throws {
        for parameter in trial.subject.parameters {
            let values: [JSON]
            switch parameter.kind {
            case .string: values = ["\u{1}\u{2}", "no/such/thing", "((("]
            case .json: values = ["(", [1, ["a"]], ["a": ["b": .null]], -1e308]
            case .numbers:
                values = [
                    [], .array(limitsOf(parameter)),
                    .array(limitsOf(parameter) + limitsOf(parameter)),
                ]
            case .integer:
                values = [0, 1, -1].filter {
                    (try? parameter.checked($0, owner: "", place: nil)) != nil
                }
            case .number:
                values = [0.0, 1.0, -1.0].filter {
                    (try? parameter.checked($0, owner: "", place: nil)) != nil
                }
            case .bool, .choice: values = []
            }
            for value in values { try survives(trial, [parameter.name: value]) }
        }
    }

    private static func limitsOf(_ parameter: Parameter) -> [JSON] {
        guard let range = parameter.range else { return [0.0, 1.0] }
        return [range.lowerBound, range.upperBound].map { .double(max(-1e9, min(1e9, $0))) }
    }
}
