// Makes the JSONL files of the shipped demo from facts.txt. Run it in this folder:
//
//     swift make.swift
//
// The same seed gives the same bytes. What it prints (counts, and how well simple rules separate
// better from worse answers) stands in README.md.

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

// MARK: - Small tools

/// SplitMix64: a generator whose stream depends on the seed alone.
struct Random: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    /// A whole number in `0..<n`.
    mutating func below(_ n: Int) -> Int { Int(next() % UInt64(n)) }

    /// True with probability `p`.
    mutating func chance(_ p: Double) -> Bool { Double(next() >> 11) * 0x1p-53 < p }

    /// One element of a list that is not empty.
    mutating func pick<T>(_ list: [T]) -> T { list[below(list.count)] }

    /// A copy of the list in random order (Fisher-Yates).
    mutating func shuffled<T>(_ list: [T]) -> [T] {
        var copy = list
        for i in stride(from: copy.count - 1, to: 0, by: -1) { copy.swapAt(i, below(i + 1)) }
        return copy
    }
}

/// Ends the program with one line on stderr.
func stop(_ text: String) -> Never {
    fputs("make.swift: \(text)\n", stderr)
    exit(1)
}

/// The whole file as text.
func read(_ path: String) -> String {
    guard let file = fopen(path, "rb") else { stop("cannot open \(path)") }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
        let n = fread(&buffer, 1, buffer.count, file)
        if n == 0 { break }
        bytes += buffer[..<n]
    }
    return String(decoding: bytes, as: UTF8.self)
}

/// Writes lines to a file of this folder.
func write(_ path: String, _ lines: [String]) {
    let bytes = Array((lines.joined(separator: "\n") + "\n").utf8)
    guard let file = fopen(path, "wb") else { stop("cannot write \(path)") }
    if fwrite(bytes, 1, bytes.count, file) != bytes.count { stop("cannot write \(path)") }
    fclose(file)
    print("\(path): \(lines.count) rows, \(bytes.count / 1000) kB")
}

/// The text as a JSON string.
///
/// The texts here are ASCII without control characters except newlines.
func quoted(_ text: String) -> String {
    var out = "\""
    for character in text {
        switch character {
        case "\"": out += "\\\""
        case "\\": out += "\\\\"
        case "\n": out += "\\n"
        default: out.append(character)
        }
    }
    return out + "\""
}

/// The parts of a line between separators, without the spaces around them.
func parts(_ line: Substring, _ separator: Character) -> [String] {
    line.split(separator: separator).map { trimmed($0) }
}

/// The text without spaces at its ends.
func trimmed(_ text: Substring) -> String {
    var text = text
    while text.first == " " { text.removeFirst() }
    while text.last == " " { text.removeLast() }
    return String(text)
}

/// The text with an upper-case first letter.
func capitalised(_ text: String) -> String { text.prefix(1).uppercased() + text.dropFirst() }

/// `template` with its marks replaced: {s} {S} the subject, {x} {X} the value.
func fill(_ template: String, _ subject: String, _ value: String) -> String {
    var out = ""
    var rest = Substring(template)
    while let character = rest.popFirst() {
        guard character == "{", rest.dropFirst().first == "}", let mark = rest.first else {
            out.append(character)
            continue
        }
        rest = rest.dropFirst(2)
        switch mark {
        case "s": out += subject
        case "S": out += capitalised(subject)
        case "x": out += value
        case "X": out += capitalised(value)
        default: stop("unknown mark {\(mark)} in \(template)")
        }
    }
    return out
}

/// Lower-cased words: letters, digits and inner apostrophes or hyphens.
func words(_ text: String) -> [String] {
    var out: [String] = []
    var word = ""
    for character in text.lowercased() + " " {
        if character.isLetter || character.isNumber || (!word.isEmpty && "'-".contains(character)) {
            word.append(character)
        } else if !word.isEmpty {
            out.append(word)
            word = ""
        }
    }
    return out
}

// MARK: - Knowledge

/// One kind of fact: how to ask for it, how to say it, how to add it to another answer.
struct Relation {
    var name: String
    var asks: [String] = []
    var says: [String] = []
    var adds: [String] = []
}

/// A group of subjects that share their relations.
struct Section {
    var name: String
    var relations: [Relation] = []
    var entries: [[String]] = []
}

/// One fact: a subject, a relation, a value.
struct Fact {
    var section: Int
    var entry: Int
    var relation: Int
}

/// Words that say nothing about the content of an answer.
let stopWords: Set<String> = [
    "a", "an", "the", "and", "or", "of", "in", "on", "at", "to", "with", "for", "from", "by",
    "it", "its", "is", "are", "they", "them", "their", "you", "your", "that", "than", "then",
    "as", "into", "so", "but", "no", "not", "be", "we", "us", "our", "who", "when", "while",
]

/// The sections of facts.txt, then its lists of loose sentences by name.
func readFacts(_ path: String) -> (sections: [Section], sentences: [String: [String]]) {
    var sections: [Section] = []
    var sentences: [String: [String]] = [:]
    var list: String?
    for line in read(path).split(separator: "\n") {
        let rest = trimmed(line.dropFirst(2))
        if line.hasPrefix("#") { continue }
        if line.hasPrefix("== ") {
            sections.append(Section(name: rest))
            list = nil
        } else if line.hasPrefix("~ ") {
            list = rest
        } else if let list {
            sentences[list, default: []].append(String(line))
        } else if let sign = line.first, "?!+".contains(sign), let colon = rest.firstIndex(of: ":")
        {
            let last = sections.count - 1
            let name = String(rest[..<colon])
            let texts = parts(rest[rest.index(after: colon)...], "/")
            if sections[last].relations.last?.name != name {
                sections[last].relations.append(Relation(name: name))
            }
            let r = sections[last].relations.count - 1
            switch sign {
            case "?": sections[last].relations[r].asks = texts
            case "!": sections[last].relations[r].says = texts
            default: sections[last].relations[r].adds = texts
            }
        } else {
            let columns = parts(line, "|")
            let section = sections[sections.count - 1]
            if columns.count != section.relations.count + 1 { stop("wrong columns: \(line)") }
            sections[sections.count - 1].entries.append(columns)
        }
    }
    return (sections, sentences)
}

/// Sums and differences of small numbers, in words.
func sums() -> Section {
    let names = [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
        "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    ]
    var section = Section(name: "sums")
    section.relations = [
        Relation(
            name: "result",
            asks: ["What is {s}?", "How much is {s}?", "Can you work out {s}?"],
            says: ["{S} is {x}.", "The result of {s} is {x}."])
    ]
    for a in 2...9 {
        for b in 1...9 where (a * 5 + b * 3) % 4 == 0 {
            section.entries.append(["\(names[a]) plus \(names[b])", names[a + b]])
            if a > b { section.entries.append(["\(names[a]) minus \(names[b])", names[a - b]]) }
        }
    }
    return section
}

// MARK: - Answers

/// Makes good and flawed answers about the facts.
struct Writer {
    var sections: [Section]
    var sentences: [String: [String]]
    var facts: [Fact]
    var random: Random

    func subject(_ f: Fact) -> String { sections[f.section].entries[f.entry][0] }
    func value(_ f: Fact) -> String { sections[f.section].entries[f.entry][f.relation + 1] }
    func relation(_ f: Fact) -> Relation { sections[f.section].relations[f.relation] }

    /// The plain answer, one sentence.
    mutating func main(_ f: Fact) -> String {
        fill(random.pick(relation(f).says), subject(f), value(f))
    }

    /// A sentence with another fact about the same subject, where the section has one.
    mutating func extra(_ f: Fact) -> String? {
        let relations = sections[f.section].relations
        let others = relations.indices.filter { $0 != f.relation && !relations[$0].adds.isEmpty }
        if others.isEmpty { return nil }
        let r = random.pick(others)
        let other = Fact(section: f.section, entry: f.entry, relation: r)
        return fill(random.pick(relations[r].adds), subject(f), value(other))
    }

    /// A good answer: complete, about the question, as long as needed.
    mutating func good(_ f: Fact, detailed: Bool? = nil) -> String {
        var text = main(f)
        if detailed ?? random.chance(0.4), let more = extra(f) { text += " " + more }
        return opened(text, 0.12)
    }

    /// The text after a polite start, with probability `p`.
    mutating func opened(_ text: String, _ p: Double) -> String {
        random.chance(p) ? random.pick(sentences["opening"] ?? []) + " " + text : text
    }

    /// Another entry of the same section whose value differs.
    mutating func neighbour(_ f: Fact) -> Fact {
        var other = f
        while value(other) == value(f) {
            other.entry = random.below(sections[f.section].entries.count)
        }
        return other
    }

    /// An answer that belongs to another subject, or that gives this subject a wrong value.
    mutating func wrong(_ f: Fact) -> String {
        let other = neighbour(f)
        var text: String
        if random.chance(0.5) {
            text = main(other)
            if random.chance(0.4), let more = extra(other) { text += " " + more }
        } else {
            text = fill(random.pick(relation(f).says), subject(f), value(other))
            if random.chance(0.4), let more = extra(random.chance(0.5) ? f : other) {
                text += " " + more
            }
        }
        return opened(text, 0.12)
    }

    /// One to three sentences that say nothing.
    mutating func vague(_ f: Fact) -> String {
        let list = random.shuffled(sentences["vague"] ?? [])
        let n = 1 + random.below(3)
        // A subject that is a whole sentence ("my rice is sticky") does not fit into another one.
        let isNoun = relation(f).name != "why" && relation(f).name != "do"
        let about = isNoun ? subject(f) : "this"
        let text = list[..<n].map { fill($0, about, "") }.joined(separator: " ")
        return opened(text, 0.12)
    }

    /// The answer among sentences that do not belong to it.
    mutating func rambling(_ f: Fact) -> String {
        var list: [String] = []
        for _ in 0..<(2 + random.below(2)) {
            if random.chance(0.3) {
                list.append(random.pick(sentences["aside"] ?? []))
            } else {
                list.append(main(random.pick(facts)))
            }
        }
        list.insert(main(f), at: random.below(2))
        return opened(list.joined(separator: " "), 0.12)
    }

    /// An answer that breaks off.
    mutating func cut(_ f: Fact) -> String {
        var text = main(f)
        if random.chance(0.35), let more = extra(f) { text += " " + more }
        let list = text.split(separator: " ")
        let n = max(1, Int(Double(list.count) * (0.3 + 0.4 * Double(random.below(100)) / 100)))
        if list[n - 1].last == "." {
            return opened(list[..<max(1, n - 1)].joined(separator: " "), 0.12)
        }
        return opened(list[..<n].joined(separator: " "), 0.12)
    }

    /// An answer that repeats a phrase or a sentence.
    mutating func repeating(_ f: Fact) -> String {
        var text = main(f)
        if random.chance(0.25) {
            let times = 2 + random.below(2)
            return opened(Array(repeating: text, count: times).joined(separator: " "), 0.12)
        }
        if random.chance(0.45), let more = extra(f) { text += " " + more }
        let list = text.dropLast().split(separator: " ")
        let phrase = min(2 + random.below(3), list.count)
        let end = phrase + random.below(list.count - phrase + 1)
        var out = Array(list[..<end])
        for _ in 0..<(1 + random.below(3)) {
            if random.chance(0.3) { out.append("and") }
            out += list[(end - phrase)..<end]
        }
        var looped = out.joined(separator: " ")
        while looped.last == "," || looped.last == "." { looped.removeLast() }
        return opened(looped + (random.chance(0.8) ? "." : ""), 0.12)
    }

    /// A pair for one fact and why its second answer is worse.
    mutating func pair(_ f: Fact, _ reason: Int) -> (chosen: String, rejected: String, why: String)
    {
        switch reason {
        case 0: return (good(f), random.chance(0.7) ? wrong(f) : vague(f), "content")
        case 1: return (good(f), random.chance(0.6) ? cut(f) : rambling(f), "length")
        default: return (good(f, detailed: random.chance(0.8)), repeating(f), "repetition")
        }
    }

    /// A text as the small model reads it before any fine-tuning: about half of the answers are
    /// flawed.
    mutating func pretraining(_ f: Fact) -> String {
        switch random.below(20) {
        case 0..<10: return good(f)
        case 10..<12: return wrong(f)
        case 12..<14: return vague(f)
        case 14..<16: return rambling(f)
        case 16..<17: return cut(f)
        default: return repeating(f)
        }
    }
}

// MARK: - How well do simple rules separate the two sides?

typealias Pair = (prompt: String, chosen: String, rejected: String, why: String)

/// Share of pairs that `score` puts in the right order; a tie counts one half.
func accuracy(_ pairs: [Pair], _ score: (String) -> Double) -> Double {
    var sum = 0.0
    for pair in pairs {
        let d = score(pair.chosen) - score(pair.rejected)
        sum += d > 0 ? 1 : d < 0 ? 0 : 0.5
    }
    return sum / Double(pairs.count)
}

/// In how many better and worse answers each word occurs.
func wordCounts(_ pairs: [Pair]) -> [String: (better: Int, worse: Int)] {
    var counts: [String: (better: Int, worse: Int)] = [:]
    for pair in pairs {
        for word in Set(words(pair.chosen)) { counts[word, default: (0, 0)].better += 1 }
        for word in Set(words(pair.rejected)) { counts[word, default: (0, 0)].worse += 1 }
    }
    return counts
}

/// Prints what the rules reach; word rules are chosen on `train` and measured on `valid`.
func report(_ train: [Pair], _ valid: [Pair]) {
    func show(_ name: String, _ value: Double) {
        let thousandths = Int((value * 1000).rounded())
        let digits = String(thousandths + 10000).dropFirst(2)
        print("  \(name): \(thousandths / 1000).\(digits)")
    }
    show("shorter is better, train", accuracy(train) { -Double($0.utf8.count) })
    show("shorter is better, valid", accuracy(valid) { -Double($0.utf8.count) })
    let target = train.reduce(0) { $0 + $1.chosen.utf8.count } / train.count
    show(
        "closer to \(target) bytes is better, valid",
        accuracy(valid) { -abs(Double($0.utf8.count - target)) })
    let counts = wordCounts(train)
    let ranked = counts.sorted {
        let a = abs($0.value.better - $0.value.worse)
        let b = abs($1.value.better - $1.value.worse)
        return a != b ? a > b : $0.key < $1.key
    }
    func sign(_ word: String) -> Double {
        guard let c = counts[word] else { return 0 }
        return c.better > c.worse ? 1 : c.better < c.worse ? -1 : 0
    }
    for n in [1, 20, 100] {
        let list = Set(ranked.prefix(n).map(\.key))
        let score = { (text: String) in
            Set(words(text)).intersection(list).reduce(0.0) { $0 + sign($1) }
        }
        show("best list of \(n) words (\(ranked[0].key) first), valid", accuracy(valid, score))
    }
    let weights = counts.mapValues { log((Double($0.better) + 1) / (Double($0.worse) + 1)) }
    show(
        "log-odds of every word, valid",
        accuracy(valid) { Set(words($0)).sorted().reduce(0.0) { $0 + (weights[$1] ?? 0) } })
}

// MARK: - The files

/// Writes the five files and prints the counts.
func make() {
    var (sections, sentences) = readFacts("facts.txt")
    sections.append(sums())
    var facts: [Fact] = []
    for (s, section) in sections.enumerated() {
        for e in section.entries.indices {
            facts += section.relations.indices.map { Fact(section: s, entry: e, relation: $0) }
        }
    }
    var writer = Writer(
        sections: sections, sentences: sentences, facts: facts, random: Random(state: 2026))

    // One way of asking is held out for a part of the facts: no question of the valid files is in a
    // training file.
    var training: [(question: String, fact: Fact)] = []
    var heldOut: [(question: String, fact: Fact)] = []
    for fact in facts {
        let asks = writer.relation(fact).asks
        let held = writer.random.chance(0.28) ? writer.random.below(asks.count) : -1
        for (i, ask) in asks.enumerated() {
            let question = fill(ask, writer.subject(fact), "")
            if i == held {
                heldOut.append((question, fact))
            } else {
                training.append((question, fact))
            }
        }
    }
    training = writer.random.shuffled(training)
    heldOut = writer.random.shuffled(heldOut)
    if !Set(training.map(\.question)).isDisjoint(with: heldOut.map(\.question)) {
        stop("prompts overlap")
    }

    func prompt(_ question: String) -> String { "Question: \(question)\nAnswer:" }

    var pretrain: [String] = []
    for item in training + training {
        let text = prompt(item.question) + " " + writer.pretraining(item.fact)
        pretrain.append("{\"text\": \(quoted(text))}")
    }
    pretrain = Array(writer.random.shuffled(pretrain).prefix(4000))

    func pairs(_ items: [(question: String, fact: Fact)]) -> [Pair] {
        items.enumerated().map { i, item in
            var p = writer.pair(item.fact, i % 3)
            while p.chosen == p.rejected { p = writer.pair(item.fact, i % 3) }
            return (prompt(item.question), " " + p.chosen, " " + p.rejected, p.why)
        }
    }
    func rows(_ pairs: [Pair]) -> [String] {
        pairs.map {
            "{\"prompt\": \(quoted($0.prompt)), \"chosen\": \(quoted($0.chosen)), "
                + "\"rejected\": \(quoted($0.rejected)), \"why\": \(quoted($0.why))}"
        }
    }
    func keywords(_ fact: Fact) -> String {
        var list: [String] = []
        for word in words(writer.value(fact))
        where !stopWords.contains(word) && !list.contains(word) && list.count < 6 {
            list.append(word)
        }
        return "\"keywords\": [\(list.map(quoted).joined(separator: ", "))]"
    }
    func promptRows(_ items: [(question: String, fact: Fact)]) -> [String] {
        items.map {
            "{\"prompt\": \(quoted(prompt($0.question))), "
                + "\"topic\": \(quoted(sections[$0.fact.section].name)), \(keywords($0.fact))}"
        }
    }
    let train = pairs(Array(training.prefix(2150)))
    let valid = pairs(heldOut)
    write("pretrain.jsonl", pretrain)
    write("preferences.train.jsonl", rows(train))
    // With the keywords of the prompts: `keel reward try` can compare a reward with the labels.
    let validRows = zip(rows(valid), heldOut).map { row, item in
        "\(row.dropLast()), \(keywords(item.fact))}"
    }
    write("preferences.valid.jsonl", validRows)
    write("prompts.train.jsonl", promptRows(training))
    write("prompts.valid.jsonl", promptRows(heldOut))

    var vocabulary: Set<String> = []
    for p in train { vocabulary.formUnion(words(p.prompt + p.chosen + p.rejected)) }
    print("\(facts.count) facts, \(training.count) + \(heldOut.count) questions")
    print("distinct words in preferences.train.jsonl: \(vocabulary.count)")
    for why in ["content", "length", "repetition"] {
        print("pairs for \(why): \(train.filter { $0.why == why }.count)")
    }
    report(train, valid)
}

make()
