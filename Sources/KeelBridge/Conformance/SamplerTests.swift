import CKeel
import KeelCore

/// Token samplers keep sequences apart; data samplers stay inside of the data set.
extension ConformanceTest {
    static let samplerTests: [ConformanceTest] = [
        ConformanceTest(
            .sampler, "runs", "It answers ordinary calls, with tokens or rows that exist.",
            kinds: [.tokenSampler, .dataSampler], after: ["declared", "columns"],
            run: testSamplerRuns),
        ConformanceTest(
            .sampler, "repeated", "A fresh instance gives the same bits for the same call.",
            kinds: [.tokenSampler, .dataSampler], after: ["runs"],
            skip: {
                $0.flags.contains(.nondeterministic) ? "it says it is nondeterministic" : nil
            }, run: testSamplerRepeated),
        token(
            "excluded", "A token of probability 0 (logit -inf) is never taken.",
            run: testExcluded),
        token(
            "exhausted", "When every token is excluded it refuses, or leaves it to the host.",
            run: testExhausted),
        token(
            "mixing", "A sequence is sampled alike alone and beside others.",
            after: ["repeated"], run: testMixing),
        token(
            "compaction", "A sequence goes on alike when others leave the batch.",
            after: ["mixing"], run: testCompaction),
        ConformanceTest(
            .sampler, "order", "Rows are in range for small, large, short and repeated epochs.",
            kinds: [.dataSampler], after: ["runs"], run: testOrder),
    ]

    private static func token(
        _ name: String, _ help: String, after: [String] = ["runs"],
        run: @escaping @Sendable (Trial) throws -> Void
    ) -> ConformanceTest {
        ConformanceTest(.sampler, name, help, kinds: [.tokenSampler], after: after, run: run)
    }

    private static func tokenRig(_ trial: Trial) throws -> TokenSamplerRig {
        try TokenSamplerRig(trial, try trial.parameters())
    }

    private static func testSamplerRuns(_ trial: Trial) throws {
        let rig = try firstRig(trial)
        for round in 0..<3 { _ = try rig.work(round) }
    }

    private static func testSamplerRepeated(_ trial: Trial) throws {
        let first = try trial.rig().work(1)
        guard try trial.rig().work(1) != first else { return }
        throw Finding.fail(
            "a fresh instance gives something else for the same call",
            fix: "keep what an instance knows behind `self`; random numbers come from keel_random")
    }

    // MARK: - Token samplers

    private static func testExcluded(_ trial: Trial) throws {
        let rig = try tokenRig(trial)
        for kept in [TokenSamplerRig.vocabulary - 1, 0, 7, 20] {
            var sequences = rig.sequences(4, &trial.dice)
            let rows = sequences.enumerated().map { index, sequence in
                rig.logits(of: sequence).enumerated().map { token, logit in
                    // The second row keeps one token, the others lose every second one.
                    let isKept = token == kept || index != 1 && (token + kept) % 2 == 0
                    return isKept ? logit : -Float.infinity
                }
            }
            let outcome = try rig.sample(&sequences, logits: rows)
            for (index, (before, after)) in zip(rows, outcome.logits).enumerated() {
                for token in before.indices
                where before[token] == -.infinity && after[token] > -.infinity {
                    throw Finding.fail(
                        "it makes token \(token) of row \(index) possible, which was excluded",
                        fix: "leave logits of -inf as they are")
                }
                let taken = outcome.tokens[index]
                if taken >= 0, before[Int(taken)] == -.infinity {
                    throw Finding.fail(
                        "it takes token \(taken) of row \(index), which has probability 0",
                        fix: "choose among tokens whose logit is above -inf")
                }
            }
        }
    }

    private static func testExhausted(_ trial: Trial) throws {
        let rig = try tokenRig(trial)
        var sequences = rig.sequences(2, &trial.dice)
        let none = [Float](repeating: -.infinity, count: TokenSamplerRig.vocabulary)
        do {
            _ = try rig.sample(&sequences, logits: [none, none])
        } catch let error as KeelError {
            try expectText(error, "a row without a token")
            trial.note("it answers: \(error.what)")
        }
    }

    private static let apart =
        "a row's token depends on its own logits, tokens and memory (seq[b]) alone"

    private static func testMixing(_ trial: Trial) throws {
        for count in [2, 5] {
            let rig = try tokenRig(trial)
            let start = rig.sequences(count, &trial.dice)
            var together = start
            let outcome = try rig.sample(&together)
            for index in start.indices {
                var alone = [start[index]]
                let single = try tokenRig(trial).sample(&alone)
                guard
                    single.tokens[0] != outcome.tokens[index]
                        || single.logits[0] != outcome.logits[index]
                else { continue }
                throw Finding.fail(
                    "row \(index) of \(count) is sampled otherwise when it is alone", fix: apart)
            }
        }
    }

    /// Sequences that come and go as in a batch that is kept full.
    private static func testCompaction(_ trial: Trial) throws {
        let rig = try tokenRig(trial)
        let start = rig.sequences(6, &trial.dice)
        let births = [0, 0, 0, 0, 3, 5]
        let last = 8
        var sequences: [TokenSamplerRig.Sequence] = []
        for step in 0..<last {
            // Those that end make room; the last one takes the free row, new ones come at the end.
            if step == 3 { sequences[0] = sequences.removeLast() }
            if step == 5 { sequences.swapAt(0, 2) }
            sequences += start.indices.filter { births[$0] == step }.map { start[$0] }
            _ = try rig.sample(&sequences, step: step)
        }
        for sequence in sequences {
            guard let index = start.firstIndex(where: { $0.id == sequence.id }) else { continue }
            let rig = try tokenRig(trial)
            var alone = [start[index]]
            for step in births[index]..<last { _ = try rig.sample(&alone, step: step) }
            guard alone[0].tokens != sequence.tokens || alone[0].state != sequence.state else {
                continue
            }
            throw Finding.fail(
                "a sequence goes on otherwise when others leave the batch or change places",
                fix: "keep what belongs to a sequence in seq[b] (seq_bytes), not by row")
        }
    }

    // MARK: - Data samplers

    private static func testOrder(_ trial: Trial) throws {
        let rig = try DataSamplerRig(trial, try trial.parameters())
        for (rows, length) in [(1, 1), (2, 7), (10, 10), (10, 3), (1000, 1000), (7, 100)] {
            for epoch in [0, 1, 5] {
                _ = try rig.order(epoch: epoch, rows: rows, length: length)
            }
        }
        // A sampler that shuffles is asked whether it takes every row; repeats are legal.
        let order = try rig.order(epoch: 0, rows: 50, length: 50)
        if Set(order).count < 50 { trial.note("an epoch repeats rows and leaves others out") }
    }
}
