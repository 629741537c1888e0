import KeelCore

/// Random parameters, rows and orders of calls.
extension ConformanceTest {
    static let fuzzTests: [ConformanceTest] = [
        ConformanceTest(
            .fuzz, "calls",
            "Random parameters, rows and calls on several instances; a second process does the same.",
            kinds: everyKind, after: ["*"], replay: 0, run: testFuzz)
    ]

    private static func testFuzz(_ trial: Trial) throws {
        var rigs: [any Rig] = []
        let begin = Clock.now()
        var steps = 0
        // A number of steps, not a time: the second process must come to the same.
        while steps < 150 {
            steps += 1
            if Clock.now() - begin > trial.timeout * 0.7 {
                trial.isComparable = false
                return trial.note("stopped after \(steps) steps: calls are slow")
            }
            try step(trial, &rigs)
        }
    }

    private static func step(_ trial: Trial, _ rigs: inout [any Rig]) throws {
        let choice = rigs.isEmpty ? 0 : trial.dice.below(12)
        var dice = Dice(seed: trial.dice.bits(), place: "fuzz")
        do {
            switch choice {
            case 0 where rigs.count < 4:
                let params = randomParameters(trial.subject, &dice)
                trial.circumstances =
                    "\(rigs.count + 1) instances, the last one with params \(JSON.object(params).text().prefix(200))"
                rigs.append(try trial.rig(params))
            case 1 where rigs.count > 1:
                trial.at("destroy")
                rigs.remove(at: dice.below(rigs.count))
                trial.circumstances = "after one of several instances was destroyed"
            case 2:
                let rig = rigs[dice.below(rigs.count)]
                trial.at("save and load")
                if let state = try rig.instance.save() {
                    trial.record(state.bytes)
                    let fresh = try trial.rig()
                    try fresh.instance.load(state)
                    rigs[0] = fresh
                }
            case 3: try rigs[dice.below(rigs.count)].workWhileStopping()
            default:
                let bytes = try rigs[dice.below(rigs.count)].fuzz(&dice)
                if !trial.subject.flags.contains(.nondeterministic) { trial.record(bytes) }
            }
        } catch let error as KeelError {
            // Refusing a row or a parameter with a text is an answer.
            try expectText(error, "a call")
            trial.record(Array(error.what.utf8))
        }
    }
}
