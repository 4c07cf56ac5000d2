// Package docs holds the project's documentation, as the files of this folder.
package docs

import "embed"

// Files are the documents, in Markdown, under their names. They are read only.
//
//go:embed *.md
var Files embed.FS
