import KeelBridge
import KeelCore
import KeelData
import OrderedCollections

/// The frozen reference's own responses to some prompts, with their rewards: what its value is, by example.
///
/// Remembered by content: made once for the same reference, prompts, sampler and rewards.
struct ReferenceRollouts {
    private let prompts: [Prompt]
    private let perPrompt: Int
    private let transform: RewardTransformChoice
    private let maker: () throws -> RolloutMaker
    private let cacheKey: () throws -> String?

    /// - Parameters:
    ///   - prompts: each of them once.
    ///   - cacheKey: names everything that the responses and rewards depend on as it is then; nil remembers nothing.
    init(
        prompts: [Prompt], perPrompt: Int, transform: RewardTransformChoice,
        cacheKey: @escaping () throws -> String?,
        maker: @escaping () throws -> RolloutMaker
    ) {
        self.prompts = prompts
        self.perPrompt = perPrompt
        self.transform = transform
        self.maker = maker
        self.cacheKey = cacheKey
    }

    private func cacheFile() throws -> String? {
        try cacheKey().map {
            Files.join(
                Files.userFolder("XDG_CACHE_HOME", ".cache"),
                "rollouts/\(SHA256.hex($0).prefix(32)).jsonl")
        }
    }

    /// A response: to which prompt, its tokens, its reward.
    private struct Answer: Equatable {
        var prompt: Int
        var tokens: [Int32]
        var reward: Double
    }

    /// Rows as a phase trains on them; those that no reward applies to are left out.
    ///
    /// - Parameter limit: prompts to make do with; they are not remembered.
    /// - Throws: what generation and rewards throw; `KeelError` (badData) when nothing is left.
    func rows(
        limit: Int? = nil
    ) throws -> (rows: OfflineRows, metrics: OrderedDictionary<String, Double>) {
        let file = limit == nil ? try cacheFile() : nil
        var answers = file.flatMap(read)
        if answers == nil {
            let made = try make(Array(prompts.prefix(limit ?? prompts.count)))
            if let file { write(made, to: file) }
            answers = made
        }
        let kept = (answers ?? []).filter { !$0.reward.isNaN }
        guard !kept.isEmpty else {
            throw KeelError(
                "data", "no reward applies to any of the reference's responses", code: .badData)
        }
        let rewards = kept.map { transform($0.reward) }
        let lengths = kept.map { Double($0.tokens.count) }
        let prompts = prompts
        let rows = OfflineRows(
            rows: TokenizedRows(
                kept.enumerated().map {
                    TokenizedRow(
                        index: $0, prompt: prompts[$1.prompt].tokens, completions: [$1.tokens])
                }),
            values: DatasetValues(rewards.map { RowValues(rewards: [$0]) }),
            raw: { prompts[kept[$0].prompt].json })
        return (
            rows,
            [
                "value_head/rollouts": Double(kept.count),
                "value_head/rollout_reward_mean": Statistics.mean(rewards),
                "value_head/rollout_reward_std": Statistics.deviation(rewards),
                "value_head/rollout_length_mean": Statistics.mean(lengths),
            ]
        )
    }

    private func make(_ prompts: [Prompt]) throws -> [Answer] {
        Log.notice("the reference answers \(prompts.count) prompts, \(perPrompt) times each")
        let drawn = try maker().draw(
            prompts, stream: 0, place: "reference rollouts", purpose: .training,
            context: CallContext(isCancelled: { Signals.stopRequest != nil }))
        return zip(drawn.samples, drawn.scored.rewards).enumerated().map { number, pair in
            Answer(prompt: number / perPrompt, tokens: pair.0.tokens, reward: pair.1)
        }
    }

    // MARK: - On disk: {"check"}, then {"prompt", "tokens", "reward"} a line; what does not read back whole is made anew

    private func read(_ cacheFile: String) -> [Answer]? {
        guard Files.isRegular(cacheFile), let bytes = try? Files.read(cacheFile) else {
            return nil
        }
        let lines = bytes.split(separator: UInt8(ascii: "\n"), maxSplits: 1)
        guard lines.count == 2,
            let check = try? JSON.parse(Array(lines[0]), name: cacheFile)["check"]?.string,
            check == SHA256.hex(String(decoding: lines[1], as: UTF8.self))
        else { return nil }
        return lines[1].split(separator: UInt8(ascii: "\n")).compactMap { line in
            guard let object = try? JSON.parse(Array(line), name: cacheFile),
                let prompt = object["prompt"]?.int, prompts.indices.contains(prompt),
                let tokens = object["tokens"]?.array
            else { return nil }
            return Answer(
                prompt: prompt, tokens: tokens.compactMap { $0.int.flatMap(Int32.init(exactly:)) },
                reward: object["reward"]?.double ?? .nan)
        }
    }

    /// A cache that cannot be written costs time later, not the run.
    private func write(_ answers: [Answer], to cacheFile: String) {
        let text = answers.map { answer -> String in
            let line: JSON = [
                "prompt": JSON(answer.prompt),
                "tokens": .array(answer.tokens.map { .int(Int64($0)) }),
                "reward": answer.reward.isNaN ? .null : .double(answer.reward),
            ]
            return line.text() + "\n"
        }.joined()
        do {
            try Files.makeDirectory(Files.parent(cacheFile))
            let head: JSON = ["check": .string(SHA256.hex(text))]
            try AtomicWrite.file(cacheFile, head.text() + "\n" + text)
        } catch {
            Log.warning("the reference's responses could not be cached: \(error)")
        }
    }
}
