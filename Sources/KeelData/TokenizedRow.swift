/// How many tokens a row has.
package struct RowShape: Sendable, Equatable {
    /// The row's number in its file.
    package var index: Int
    package var prompt: Int
    /// Of each completion.
    package var completions: [Int]

    package init(index: Int, prompt: Int, completions: [Int]) {
        (self.index, self.prompt, self.completions) = (index, prompt, completions)
    }

    package var tokens: Int { completions.reduce(prompt, +) }
}

/// A data row as token ids: one prompt and its continuations.
///
/// A pair has two completions (chosen, rejected), a prompt-completion row one. Plain text has its
/// first token as the prompt: nothing predicts that one. Every id of a completion is trained, but for
/// conversations, where the user speaks in between.
package struct TokenizedRow: Sendable, Equatable {
    /// The row's number in its file, from 0: its permanent id.
    package var index: Int
    package var prompt: [Int32]
    package var completions: [[Int32]]
    /// Of each completion, which ids are trained; nil = all.
    package var masks: [[Bool]]?
    /// Of a row that holds one of several completions of its prompt: which.
    package var sibling = 0

    package init(index: Int, prompt: [Int32], completions: [[Int32]], masks: [[Bool]]? = nil) {
        self.index = index
        self.prompt = prompt
        self.completions = completions
        self.masks = masks
    }

    /// Tokens as a trainer without shared prompts counts them: the prompt once per completion.
    package var tokenCount: Int {
        completions.reduce(0) { $0 + prompt.count + $1.count }
    }

    /// Which ids of a completion are trained.
    package func mask(_ completion: Int) -> [Bool] {
        masks?[completion] ?? [Bool](repeating: true, count: completions[completion].count)
    }

    /// The same of all completions, one after the other.
    package var trained: [Bool] { completions.indices.flatMap { mask($0) } }
}
