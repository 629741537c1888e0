import KeelCore
import KeelData

/// The prompts of a data set's rows, each read when it is asked for.
struct DatasetPrompts {
    let rows: TokenizedRows
    private let file: Dataset

    init(_ part: RunData.Part) {
        (rows, file) = (part.tokens.rows, part.rows)
    }

    var count: Int { rows.count }
    var all: [Prompt] { rows.indices.map { self[$0] } }

    subscript(place: Int) -> Prompt { Prompt(rows[place], of: file) }

    /// The data set row at a place.
    func json(_ place: Int) -> JSON { file.row(rows.index(of: place)) }
}
