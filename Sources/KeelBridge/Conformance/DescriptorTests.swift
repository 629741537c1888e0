import CKeel
import KeelCore

/// What a plugin says about itself.
extension ConformanceTest {
    static let descriptorTests: [ConformanceTest] = [
        ConformanceTest(
            .descriptor, "valid",
            "Sizes, ids, names, UTF-8, kinds, parameters with their defaults, ranges and choices.",
            after: ["loads"], run: testValid),
        ConformanceTest(
            .descriptor, "help", "The component and each of its parameters have a help text.",
            kinds: everyKind, run: testHelp),
        ConformanceTest(
            .descriptor, "needs", "The columns it needs, gives and trains have known names.",
            kinds: everyKind, run: testNeeds),
        ConformanceTest(
            .descriptor, "flags", "Flags, callbacks and phases fit the kind and each other.",
            kinds: everyKind, run: testFlags),
        ConformanceTest(
            .descriptor, "columns", "It reads only columns that it needs.", kinds: everyKind,
            leavesCrashes: true, run: testColumns),
    ]

    private static func testValid(_ trial: Trial) throws {
        trial.at("keel_plugin_v1")
        let components = try Library.open(trial.path).map(\.component)
        trial.facts["components"] = .array(components.map(\.json))
    }

    private static func testHelp(_ trial: Trial) throws {
        let component = trial.subject
        if component.help.isEmpty {
            throw Finding.warn(
                "\(component.title) has no help text",
                fix: "set `help`: `keel plugin list` shows it")
        }
        if let parameter = component.parameters.first(where: { $0.help.isEmpty }) {
            throw Finding.warn(
                "parameter \"\(parameter.name)\" has no help text",
                fix: "say in a sentence what it does: `keel plugin info` shows it")
        }
    }

    private static func testNeeds(_ trial: Trial) throws {
        let component = trial.subject
        for need in component.needs + component.phases.flatMap(\.needs) {
            let name = need.hasSuffix("?") ? String(need.dropLast()) : need
            guard !KnownColumns.isKnown(name, gives: component.gives) else { continue }
            throw Finding.fail(
                "it needs the column \"\(name)\", which no host has",
                fix: KnownColumns.near(name).map { "did you mean \"\($0)\"?" }
                    ?? "docs/plugins.md lists the columns")
        }
        for name in component.gives where name.isEmpty || name.hasSuffix("?") {
            throw Finding.fail("it gives a column called \"\(name)\"")
        }
        let heads = [
            "critic", "reward_head", "value_head", "value_head:linear",
            "value_head:attention_pool", "value_head:mlp_pool",
        ]
        for head in component.heads where !heads.contains(head) {
            throw Finding.fail(
                "it wants the head \"\(head)\", which no host has",
                fix: "known: \(heads.joined(separator: ", "))")
        }
        let trained = ["policy", "critic", "value_head", "reward_head"]
        for phase in component.phases {
            for name in phase.trains where !trained.contains(name) {
                throw Finding.fail(
                    "phase \"\(phase.name)\" trains \"\(name)\", which no host has",
                    fix: "known: \(trained.joined(separator: ", "))")
            }
        }
    }

    private static func testFlags(_ trial: Trial) throws {
        let component = trial.subject
        let flags = component.flags
        let allowed: [ComponentKind: ComponentFlags] = [
            .reward: [.parallel, .coupled, .nondeterministic],
            .objective: [
                .coupled, .nondeterministic, .explicitGradient, .linear, .prepareDataset,
            ],
            .tokenSampler: [.parallel, .nondeterministic],
            .dataSampler: [.nondeterministic],
        ]
        let odd = flags.subtracting(allowed[component.kind] ?? [])
        if !odd.isEmpty {
            let names = odd.list.isEmpty ? "\(odd.rawValue)" : odd.list.joined(separator: ", ")
            throw Finding.fail(
                "the flag \(names) means nothing for a \(component.kind.words)",
                fix: "leave it out")
        }
        let owned: [(String, ComponentKind)] = [
            ("prepare", .objective), ("ask", .reward), ("feedback", .dataSampler),
        ]
        for (callback, kind) in owned where component.kind != kind {
            if component.hasCallback(callback) {
                throw Finding.fail(
                    "`\(callback)` is never called for a \(component.kind.words)",
                    fix: "leave it out")
            }
        }
        let prepares = component.phases.contains(where: \.hasPrepare)
        if flags.contains(.prepareDataset), !prepares {
            throw Finding.fail(
                "it has the flag prepare_dataset and no `prepare`", fix: "leave the flag out")
        }
        if !component.gives.isEmpty, component.kind == .objective, !prepares {
            throw Finding.fail(
                "it gives \(component.gives.joined(separator: ", ")), but has no `prepare` to do so"
            )
        }
        if !component.gives.isEmpty, [.tokenSampler, .dataSampler].contains(component.kind) {
            throw Finding.fail(
                "a \(component.kind.words) gives no columns", fix: "leave `gives` out")
        }
        if component.sequenceBytes > 0, component.kind != .tokenSampler {
            throw Finding.fail("seq_bytes means nothing for a \(component.kind.words)")
        }
        if component.data != nil, component.kind != .objective {
            throw Finding.warn("`data` means nothing for a \(component.kind.words)")
        }
        if let phase = component.phases.first(where: { $0.epochs != nil && $0.steps != nil }) {
            throw Finding.fail(
                "phase \"\(phase.name)\" has its length in epochs and in steps", fix: "keep one")
        }
        if component.stateVersion > 0, !component.hasCallback("save") {
            throw Finding.warn(
                "it has a state_version and no `save`", fix: "add save and load, or leave it out")
        }
    }

    private static func testColumns(_ trial: Trial) throws {
        let component = trial.subject
        var rig: (any Rig)?
        var seen = HostProbe.State()
        seen = HostProbe.tracing { rig = try? trial.rig() }
        guard let rig else { return }  // for `runs` to report
        let work = HostProbe.tracing { _ = try? rig.work(0) }
        let declared = Set(
            component.phases.flatMap { rig.instance.readable(phase: $0.name) }
                + rig.instance.readable(phase: "policy") + (seen.names[.need] ?? []))
        let asked = (work.names[.input] ?? []) + (work.names[.column] ?? [])
        for name in asked where !isDeclared(name, declared) {
            let near = nearest(name, among: declared.sorted()).map { "; did you mean \"\($0)\"?" }
            throw Finding.fail(
                "it reads the column \"\(name)\", which it does not need\(near ?? "")",
                fix: "declare it: KEEL_NEEDS in C, `needs` in Swift, or keel_need in `create`")
        }
    }

    private static func isDeclared(_ name: String, _ declared: Set<String>) -> Bool {
        if declared.contains(name) || ColumnNames.isStructural(name) { return true }
        return ColumnNames.derivation(of: name).map { declared.contains($0.source) } ?? false
    }
}
