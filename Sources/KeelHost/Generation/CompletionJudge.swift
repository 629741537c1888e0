import KeelBridge
import KeelCore
import KeelModel
import KeelTensor

/// Scores completions with the rewards of a config, as training does, and picks the best of each prompt.
final class CompletionJudge {
    /// Completions that are generated before their lines are printed, about.
    static let rowsPerPart = 1024

    private let rewards: RewardSet
    private let keep: GenerateCommand.Keep
    private let isJSON: Bool

    /// - Parameter tokenizer: the folder of the policy's tokenizer.
    /// - Throws: `KeelError` for a config without rewards, and for plugins and models that cannot be loaded.
    init(
        _ path: String, _ options: GenerateCommand.Options, _ device: Device, tokenizer: String
    ) throws {
        let catalog = PluginCatalog(searchPaths: options.pluginPaths)
        let (config, choices, _) = try RunConfig.loadRewards(path, catalog: catalog)
        rewards = try RewardSet(
            config, choices, catalog: catalog, seed: options.seed,
            models: .init(device: device, policy: tokenizer))
        keep = options.keep ?? .all
        isJSON = options.json
    }

    /// Completes prompts and scores what comes, while others are still being generated.
    ///
    /// - Parameter finished: called for each completion.
    /// - Returns: the lines to print, in the order of the prompts.
    /// - Throws: `KeelError`, as generation and rewards do.
    func lines(
        _ items: [PromptReader.Item], _ command: GenerateCommand, finished: () -> Void
    ) throws -> [String] {
        let count = command.options.count
        let scoring = Scoring(
            rewards, count: items.count * count, groupSize: count, purpose: .evaluation,
            context: CallContext())
        var failure: (any Error)?
        let prompts = try items.map { try prompt($0, command) }
        var texts = [String](repeating: "", count: items.count * count)
        let done = try command.generator().run(
            command.requests(items),
            finished: { i, completion in
                texts[i] = try command.text(completion) ?? ""
                scoring.add(
                    i,
                    RewardRow(
                        Sample(
                            prompt: prompts[i / count].prompt, promptText: prompts[i / count].text,
                            text: texts[i], tokens: completion.ids, logprobs: completion.logprobs,
                            behaviorLogprobs: completion.behaviourLogprobs,
                            finishReason: completion.finishReason), group: Int32(i / count)))
                finished()
            },
            shouldContinue: {
                do {
                    try scoring.flush()
                    return true
                } catch {
                    failure = error
                    return false
                }
            })
        if let failure { throw failure }
        let scored = try scoring.finish()
        rewards.tellSlowRows(scored)
        var lines: [String] = []
        for (number, item) in items.enumerated() {
            let group = number * count..<(number + 1) * count
            for i in chosen(group, scored.rewards, item) {
                guard let completion = done[i] else { continue }
                lines.append(isJSON ? json(completion, texts[i], item, scored, i) : texts[i])
            }
        }
        return lines
    }

    /// The prompt as rewards see it.
    private func prompt(
        _ item: PromptReader.Item, _ command: GenerateCommand
    ) throws -> (prompt: Prompt, text: String) {
        let text =
            try item.row["prompt"]?.string
            ?? command.tokenizer?.decode(item.ids, skipSpecial: true) ?? ""
        return (Prompt(row: item.number, tokens: item.ids, json: .object(item.row)), text)
    }

    /// The completions of a prompt that are printed.
    private func chosen(
        _ group: Range<Int>, _ rewards: [Double], _ item: PromptReader.Item
    ) -> [Int] {
        guard keep == .best else { return Array(group) }
        let judged = group.filter { !rewards[$0].isNaN }
        guard let first = judged.first else {
            Log.warning("\(item.place): no completion has a reward; the prompt is left out")
            return []
        }
        return [judged.reduce(first) { rewards[$1] > rewards[$0] ? $1 : $0 }]
    }

    /// A row that training takes: what the prompt's row says, the completion, its rewards.
    private func json(
        _ completion: Completion, _ text: String, _ item: PromptReader.Item,
        _ scored: RewardSet.Scored, _ i: Int
    ) -> String {
        var row = item.row
        row["messages"] = nil
        for (key, value) in GenerateCommand.object(completion, text, item) { row[key] = value }
        // No reward, and a reward that has no opinion, are null, as training reads them.
        func number(_ value: Double) -> JSON { value.isNaN ? .null : .double(value) }
        row["reward"] = number(scored.rewards[i])
        row["rewards"] = .object(
            JSONObject(pairs: zip(scored.names, scored.scores).map { ($0, number($1[i])) }))
        return JSON.object(row).text()
    }
}
